"""MobileMamba-S6 on ImageNet-1K, 300 epochs with images of 224 pixels."""

_base_ = [
    './_base_/models/mobilemamba.py',
    './_base_/datasets/imagenet_mobilemamba.py',
    './_base_/schedules/mobilemamba_300e.py',
]

model = dict(backbone=dict(arch='s6', drop_path_rate=0.0), head=dict(in_channels=448))

train_pipeline = _base_.pop('train_pipelines').pixels_224
test_pipeline = _base_.pop('test_pipelines').pixels_224
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
