"""MobileMamba-T2 on Imagenette, 15 epochs, with the recipe of TinyViM-S."""

_base_ = './_base_/imagenette.py'

model = dict(
    backbone=dict(
        type='tinyvim_mm.MobileMamba', arch='t2', out_indices=(2,), normalize_outputs=False
    ),
    head=dict(in_channels=368),
)
