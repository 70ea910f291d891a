"""Semantic FPN with MobileMamba-B4 on ADE20K, 160k steps of 8 x 4 images: 42.5 mIoU published.

Tested at 2048x512, sides as they come.
"""

_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    'mmseg::_base_/schedules/schedule_160k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
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
        num_classes=150,
    ),
)

# Distributed runs synchronize every batch norm; in one process all stay plain ones.
sync_bn = 'torch'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1.2e-4, weight_decay=0.05),
    # As published: the norm of the scan takes no weight decay, batch norms (`bn`) do.
    paramwise_cfg=dict(
        custom_keys={'norm': dict(decay_mult=0.0), 'decode_head': dict(lr_mult=10.0)}
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=80000, end=160000),
]

# 8 devices with 4 images each.
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=32)
