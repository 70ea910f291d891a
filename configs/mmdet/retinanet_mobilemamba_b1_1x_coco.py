"""RetinaNet with MobileMamba-B1 on COCO, 12 epochs: 39.6 AP published."""

_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='tinyvim_mm.MobileMamba',
        arch='b1',
        norm_eval=True,
        drop_path_rate=0.03,
        # ImageNet weights, 300 epochs, from the release of MobileMamba's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/mobilemamba_b1_300e.pth'),
    ),
    # Strides 8 to 128; the backbone's are 16, 32 and 64.
    neck=dict(
        _delete_=True,
        type='tinyvim_mm.UpsamplingFPN',
        in_channels=[200, 376, 448],
        out_channels=256,
        finer_levels=1,
        coarser_levels=1,
    ),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=0.1),
    # As published: the norm of the scan takes no weight decay, batch norms (`bn`) do.
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=6, end=12, convert_to_iter_based=True),
]
