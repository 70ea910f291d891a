"""EfficientVMamba-T on Imagenette, 15 epochs, with the recipe of TinyViM-S."""

_base_ = './_base_/imagenette.py'

model = dict(
    backbone=dict(
        type='tinyvim_mm.EfficientVMamba', arch='t', out_indices=(3,), normalize_outputs=False
    ),
    head=dict(in_channels=384),
)
