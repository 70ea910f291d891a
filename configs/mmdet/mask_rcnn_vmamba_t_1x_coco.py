"""Mask R-CNN with VMamba-T [s1l8] and FPN on COCO, 1x: 47.3 box AP, 42.7 mask AP published."""

_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='tinyvim_mm.VMamba',
        arch='t',
        drop_path_rate=0.2,
        # ImageNet weights, 300 epochs, from the release of VMamba's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vmamba_t_300e.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    # As published, all parameters of the scan are decayed.
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
