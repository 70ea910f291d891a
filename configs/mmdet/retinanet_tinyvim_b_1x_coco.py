"""RetinaNet with TinyViM-B and FPN on COCO, 1x schedule: no published result.

The learning rate is half of Mask R-CNN's, as in mmdet's own pair of configs.
"""

_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='tinyvim_mm.TinyViM',
        arch='b',
        out_indices=(1, 2, 3),
        # ImageNet weights, 300 epochs, from the release of TinyViM's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/tinyvim_b_300e.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384], start_level=0),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    # The state matrix and the skip weight of the scan take no weight decay.
    paramwise_cfg=dict(custom_keys={'A_logs': dict(decay_mult=0.0), 'Ds': dict(decay_mult=0.0)}),
)
