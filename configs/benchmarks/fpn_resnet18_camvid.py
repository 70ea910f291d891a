"""Semantic FPN with ResNet-18 on CamVid, as TinyViM-S, from random weights."""

_base_ = './_base_/camvid.py'

model = dict(
    backbone=dict(type='ResNet', depth=18),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
