"""Semantic FPN with TinyViM-B on ADE20K, 40k iterations of 8 x 4 images."""

_base_ = [
    './_base_/models/fpn.py',
    './_base_/datasets/ade20k_512x512.py',
    './_base_/schedules/adamw_40k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.TinyViM',
        arch='b',
        # ImageNet weights, 300 epochs, from the release of TinyViM's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/tinyvim_b_300e.pth'),
    ),
    neck=dict(in_channels=[48, 96, 192, 384]),
)

optim_wrapper = dict(
    optimizer=dict(lr=2e-4, weight_decay=1e-4),
    paramwise_cfg=_base_.pop('no_decay').scan,
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=0, end=40000, by_epoch=False)]

train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=32)
