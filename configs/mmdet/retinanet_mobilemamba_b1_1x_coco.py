"""RetinaNet with MobileMamba-B1 on COCO, 12 epochs."""

_base_ = [
    './_base_/models/retinanet.py',
    'mmdet::_base_/datasets/coco_detection.py',
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
