"""ResNet-18 on Imagenette, 15 epochs, with the recipe of TinyViM-S."""

_base_ = './_base_/imagenette.py'

model = dict(
    backbone=dict(type='ResNet', depth=18, out_indices=(3,)),
    head=dict(in_channels=512),
)
