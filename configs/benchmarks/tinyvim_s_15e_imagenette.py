"""TinyViM-S on Imagenette, 15 epochs."""

_base_ = './_base_/imagenette.py'

model = dict(
    backbone=dict(type='tinyvim_mm.TinyViM', arch='s', out_indices=(3,), normalize_outputs=False),
    head=dict(in_channels=224),
)
