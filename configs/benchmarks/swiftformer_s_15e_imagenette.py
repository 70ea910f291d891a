"""SwiftFormer-S of timm on Imagenette, 15 epochs, with the recipe of TinyViM-S."""

_base_ = './_base_/imagenette.py'

model = dict(
    backbone=dict(
        type='TIMMBackbone', model_name='swiftformer_s', features_only=True, out_indices=(3,)
    ),
    head=dict(in_channels=224),
)
