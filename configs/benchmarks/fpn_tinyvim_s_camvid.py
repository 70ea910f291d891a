"""Semantic FPN with TinyViM-S on CamVid, from random weights.

From others: `--cfg-options "model.backbone.init_cfg=dict(type='Pretrained', checkpoint='FILE')"`.
"""

_base_ = './_base_/camvid.py'

model = dict(
    backbone=dict(type='tinyvim_mm.TinyViM', arch='s'),
    neck=dict(in_channels=[48, 64, 168, 224]),
)
