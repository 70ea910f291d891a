"""Mask R-CNN with EfficientVMamba-B and FPN on COCO, 1x schedule of Swin."""

_base_ = './mask_rcnn_efficientvmamba_s_1x_coco.py'

model = dict(
    backbone=dict(arch='b', init_cfg=dict(checkpoint='checkpoints/efficientvmamba_b_300e.pth')),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
