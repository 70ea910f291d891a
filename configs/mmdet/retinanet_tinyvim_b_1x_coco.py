"""RetinaNet with TinyViM-B and FPN on COCO, 1x schedule: no published result.

The learning rate is half of Mask R-CNN's, as in mmdet's own pair of configs.
"""

_base_ = [
    './_base_/models/retinanet.py',
    'mmdet::_base_/datasets/coco_detection.py',
    './_base_/schedules/adamw_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.TinyViM',
        arch='b',
        out_indices=(1, 2, 3),
        # ImageNet weights, 300 epochs, from the release of TinyViM's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/tinyvim_b_300e.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384], start_level=0),
)

optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=_base_.pop('no_decay').scan)
