"""Mask R-CNN with TinyViM-S and FPN on COCO, 1x schedule: no published result."""

_base_ = './mask_rcnn_tinyvim_b_1x_coco.py'

model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint='checkpoints/tinyvim_s_300e.pth')),
    neck=dict(in_channels=[48, 64, 168, 224]),
)
