"""Mask R-CNN with MobileMamba-B1 on COCO, 12 epochs."""

_base_ = [
    './_base_/models/mask_rcnn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './_base_/schedules/mobilemamba_1x.py',
    'mmdet::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.MobileMamba',
        arch='b1',
        norm_eval=True,
        drop_path_rate=0.03,
        # ImageNet weights, 300 epochs, from the release of MobileMamba's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/mobilemamba_b1_300e.pth'),
    ),
    # Strides 4 to 64; the backbone's are 16, 32 and 64.
    neck=dict(
        _delete_=True,
        type='tinyvim_mm.UpsamplingFPN',
        in_channels=[200, 376, 448],
        out_channels=256,
        finer_levels=2,
    ),
)
