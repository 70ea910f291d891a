"""RetinaNet with TinyViM-S, for `tinyvim-mm finetune data/bccd --model` with this config."""

_base_ = '../mmdet/retinanet_tinyvim_b_1x_coco.py'

model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint='checkpoints/tinyvim_s_300e.pth')),
    neck=dict(in_channels=[64, 168, 224]),
)
