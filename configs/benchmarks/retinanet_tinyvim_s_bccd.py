"""A small RetinaNet with TinyViM-S, for `tinyvim-mm finetune data/bccd --model` with this config.

Neck and head have half the channels and half the layers of the usual ones: enough for three kinds
of cells, and the whole detector has 7 million parameters.
"""

_base_ = '../mmdet/retinanet_tinyvim_b_1x_coco.py'

model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint='checkpoints/tinyvim_s_300e.pth')),
    neck=dict(in_channels=[64, 168, 224], out_channels=128),
    bbox_head=dict(in_channels=128, feat_channels=128, stacked_convs=2),
)
