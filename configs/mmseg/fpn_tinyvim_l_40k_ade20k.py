"""Semantic FPN with TinyViM-L on ADE20K, 40k iterations of 8 x 4 images."""

_base_ = './fpn_tinyvim_b_40k_ade20k.py'

model = dict(
    backbone=dict(arch='l', init_cfg=dict(checkpoint='checkpoints/tinyvim_l_300e.pth')),
    neck=dict(in_channels=[64, 128, 384, 512]),
)
