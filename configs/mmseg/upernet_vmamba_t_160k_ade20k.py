"""UPerNet with VMamba-T [s1l8] on ADE20K, 160k iterations of 8 x 2 images.

Published: 47.9 mIoU, 48.8 with several scales. Tested at 2048x512, sides as they come.
"""

_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    'mmseg::_base_/datasets/ade20k.py',
    'mmseg::_base_/schedules/schedule_160k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='tinyvim_mm.VMamba',
        arch='t',
        drop_path_rate=0.2,
        # ImageNet weights, 300 epochs, from the release of VMamba's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vmamba_t_300e.pth'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], num_classes=150),
    auxiliary_head=dict(in_channels=384, num_classes=150),
)

# Distributed runs synchronize every batch norm; in one process all stay plain ones.
sync_bn = 'torch'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=6e-5, weight_decay=0.01),
    # As published, all parameters of the scan are decayed.
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=1500, end=160000, by_epoch=False),
]

# 8 devices with 2 images each.
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=False, base_batch_size=16)
