"""Semantic FPN with TinyViM-S on ADE20K, 40k iterations of 8 x 4 images."""

_base_ = './fpn_tinyvim_b_40k_ade20k.py'

model = dict(
    backbone=dict(arch='s', init_cfg=dict(checkpoint='checkpoints/tinyvim_s_300e.pth')),
    neck=dict(in_channels=[48, 64, 168, 224]),
)
