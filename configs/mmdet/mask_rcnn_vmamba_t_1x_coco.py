"""Mask R-CNN with VMamba-T [s1l8] and FPN on COCO, 1x schedule of Swin."""

_base_ = [
    './_base_/models/mask_rcnn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './_base_/schedules/vmamba_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.VMamba',
        arch='t',
        drop_path_rate=0.2,
        # ImageNet weights, 300 epochs, from the release of VMamba's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vmamba_t_300e.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
