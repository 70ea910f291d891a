"""Mask R-CNN with EfficientVMamba-S and FPN on COCO, 1x schedule of Swin.

Published with mixed precision (`--amp`). Drop path is that of the released config; the paper says
0.2, a learning rate of 1e-5, and steps at 9 and 11.
"""

_base_ = [
    './_base_/models/mask_rcnn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './_base_/schedules/vmamba_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.EfficientVMamba',
        arch='s',
        drop_path_rate=0.1,
        # ImageNet weights, 300 epochs, from the release of EfficientVMamba's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/efficientvmamba_s_300e.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
