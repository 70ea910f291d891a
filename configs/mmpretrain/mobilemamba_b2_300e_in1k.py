"""MobileMamba-B2 on ImageNet-1K, 300 epochs with images of 384 pixels."""

_base_ = [
    './_base_/models/mobilemamba.py',
    './_base_/datasets/imagenet_mobilemamba.py',
    './_base_/schedules/mobilemamba_300e.py',
]

model = dict(backbone=dict(arch='b2', drop_path_rate=0.03), head=dict(in_channels=448))

train_pipeline = _base_.pop('train_pipelines').pixels_384
test_pipeline = _base_.pop('test_pipelines').pixels_384
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
