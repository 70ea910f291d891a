"""Semantic FPN with MobileMamba-B4 on ADE20K, 160k iterations of 8 x 4 images.

Tested at 2048x512, sides as they come.
"""

_base_ = [
    './_base_/models/fpn.py',
    'mmseg::_base_/datasets/ade20k.py',
    './_base_/schedules/adamw_160k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.MobileMamba',
        arch='b4',
        drop_path_rate=0.03,
        # ImageNet weights, 300 epochs, from the release of MobileMamba's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/mobilemamba_b4_300e.pth'),
    ),
    neck=dict(in_channels=[200, 376, 448], num_outs=3),
    decode_head=dict(
        in_channels=[256, 256, 256],
        in_index=[0, 1, 2],
        feature_strides=[16, 32, 64],
    ),
)

optim_wrapper = dict(
    optimizer=dict(lr=1.2e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            **_base_.pop('no_decay').norms.custom_keys,
            'decode_head': dict(lr_mult=10.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=80000, end=160000),
]

train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=32)
