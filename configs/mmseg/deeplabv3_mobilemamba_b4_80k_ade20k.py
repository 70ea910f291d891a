"""DeepLabv3 with MobileMamba-B4 on ADE20K, 80k iterations of 8 x 4 images.

As published, no stage is dilated: the head works at stride 64, the auxiliary one at stride 32.
Tested at 2048x512, sides as they come.
"""

_base_ = [
    'mmseg::_base_/models/deeplabv3_r50-d8.py',
    'mmseg::_base_/datasets/ade20k.py',
    './_base_/schedules/adamw_80k.py',
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

optim_wrapper = dict(
    optimizer=dict(lr=1.2e-4, weight_decay=0.05),
    clip_grad=dict(_delete_=True, max_norm=0.1),
    paramwise_cfg=_base_.pop('no_decay').norms,
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=False, begin=40000, end=80000),
]

train_dataloader = dict(batch_size=4)
auto_scale_lr = dict(enable=False, base_batch_size=32)
