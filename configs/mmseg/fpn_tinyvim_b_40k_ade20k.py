"""Semantic FPN with TinyViM-B on ADE20K, 40k iterations of 8 x 4 images: 41.9 mIoU published."""

_base_ = [
    'mmseg::_base_/models/fpn_r50.py',
    './_base_/ade20k_512x512.py',
    'mmseg::_base_/schedules/schedule_40k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='tinyvim_mm.TinyViM',
        arch='b',
        # ImageNet weights, 300 epochs, from the release of TinyViM's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/tinyvim_b_300e.pth'),
    ),
    neck=dict(in_channels=[48, 96, 192, 384]),
    decode_head=dict(num_classes=150),
)

# Distributed runs synchronize every batch norm; in one process all stay plain ones.
sync_bn = 'torch'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4),
    # The state matrix and the skip weight of the scan take no weight decay.
    paramwise_cfg=dict(custom_keys={'A_logs': dict(decay_mult=0.0), 'Ds': dict(decay_mult=0.0)}),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=0, end=40000, by_epoch=False)]

# 8 devices with 4 images each.
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=32)
