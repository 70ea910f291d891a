"""UPerNet with TinyViM-B on ADE20K, 160k iterations of 8 x 2 images: no published result.

The schedule is the one customary for UPerNet on ADE20K since Swin: AdamW, lr 6e-5, weight decay
0.01, 1500 iterations of warm-up, then linear to zero. It was not tuned for TinyViM.
"""

_base_ = [
    'mmseg::_base_/models/upernet_r50.py',
    './_base_/ade20k_512x512.py',
    'mmseg::_base_/schedules/schedule_160k.py',
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
    decode_head=dict(in_channels=[48, 96, 192, 384], num_classes=150),
    auxiliary_head=dict(in_channels=192, num_classes=150),
)

# Distributed runs synchronize every batch norm; in one process all stay plain ones.
sync_bn = 'torch'

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=6e-5, weight_decay=0.01),
    # The state matrix and the skip weight of the scan take no weight decay.
    paramwise_cfg=dict(custom_keys={'A_logs': dict(decay_mult=0.0), 'Ds': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=1500, end=160000, by_epoch=False),
]

# 8 devices with 2 images each.
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=False, base_batch_size=16)
