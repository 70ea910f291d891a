"""Mask R-CNN with TinyViM-L and FPN on COCO, 1x schedule."""

_base_ = './mask_rcnn_tinyvim_b_1x_coco.py'

model = dict(
    backbone=dict(arch='l', init_cfg=dict(checkpoint='checkpoints/tinyvim_l_300e.pth')),
    neck=dict(in_channels=[64, 128, 384, 512]),
)
