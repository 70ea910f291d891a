"""Cascade Mask R-CNN with TinyViM-B and FPN on COCO, 1x schedule: no published result.

Trained as Mask R-CNN is.
"""

_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './_base_/schedules/adamw_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='tinyvim_mm.TinyViM',
        arch='b',
        # ImageNet weights, 300 epochs, from the release of TinyViM's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/tinyvim_b_300e.pth'),
    ),
    neck=dict(in_channels=[48, 96, 192, 384]),
)

optim_wrapper = dict(paramwise_cfg=_base_.pop('no_decay').scan)
