"""DeepLabv3 with MobileMamba-B4 on ADE20K, 80k steps of 8 x 4 images: 36.6 mIoU published.

As published, no stage is dilated: the head works at stride 64, the auxiliary one at stride 32.
Tested at 2048x512, sides as they come.
"""

_base_ = [
    'mmseg::_base_/models/deeplabv3_r50-d8.py',
    'mmseg::_base_/datasets/ade20k.py',
    'mmseg::_base_/schedules/schedule_80k.py',
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
    decode_head=dict(in_channels=448, in_index=2, channels=256, num_classes=150),
    auxiliary_head=dict(in_channels=376, in_index=1, num_classes=150),
)

# Distributed runs synchronize every batch norm; in one process all stay plain ones.
sync_bn = 'torch'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1.2e-4, weight_decay=0.05),
    clip_grad=dict(_delete_=True, max_norm=0.1),
    # As published: the norm of the scan takes no weight decay, batch norms (`bn`) do.
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=40000, end=80000),
]

# 8 devices with 4 images each.
train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=32)
