"""Mask R-CNN with EfficientVMamba-B and FPN on COCO, 1x: 43.7 box AP, 40.2 mask AP published.

Published with mixed precision (`--amp`). Drop path is that of the released config; the paper says
0.2, a learning rate of 1e-5, and steps at 9 and 11.
"""

_base_ = './mask_rcnn_vmamba_t_1x_coco.py'

model = dict(
    backbone=dict(
        type='tinyvim_mm.EfficientVMamba',
        arch='b',
        drop_path_rate=0.1,
        # ImageNet weights, 300 epochs, from the release of EfficientVMamba's authors.
        init_cfg=dict(checkpoint='checkpoints/efficientvmamba_b_300e.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
