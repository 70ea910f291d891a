"""MobileMamba-B2 on ImageNet-1K, 300 epochs with images of 384 pixels: 81.6 % top-1 published."""

_base_ = './mobilemamba_b1_300e_in1k.py'

model = dict(backbone=dict(arch='b2'))

crop = dict(type='RandomResizedCrop', scale=384, backend='pillow')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomChoice',
        transforms=[[dict(**crop, interpolation=how)] for how in ('bilinear', 'bicubic')],
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    {{_base_.rand_augment}},
    {{_base_.random_erasing}},
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=438, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=384),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
