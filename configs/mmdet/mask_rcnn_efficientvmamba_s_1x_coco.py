"""Mask R-CNN with EfficientVMamba-S and FPN on COCO, 1x: 39.3 box AP, 36.7 mask AP published.

Published with mixed precision (`--amp`). Drop path is that of the released config; the paper says
0.2, a learning rate of 1e-5, and steps at 9 and 11.
"""

_base_ = './mask_rcnn_vmamba_t_1x_coco.py'

model = dict(
    backbone=dict(
        type='tinyvim_mm.EfficientVMamba',
        arch='s',
        drop_path_rate=0.1,
        # ImageNet weights, 300 epochs, from the release of EfficientVMamba's authors.
        init_cfg=dict(checkpoint='checkpoints/efficientvmamba_s_300e.pth'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
