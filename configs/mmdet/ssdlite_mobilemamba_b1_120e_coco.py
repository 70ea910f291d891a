"""SSDLite with MobileMamba-B1 on COCO, images of 320 pixels, 120 epochs.

An epoch passes five times over the images. Only the first two stages are built.
"""

_base_ = ['mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py', '../_base_/weight_decay.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='tinyvim_mm.MobileMamba',
        arch='b1',
        out_indices=(0, 1),
        norm_eval=True,
        drop_path_rate=0.03,
        # ImageNet weights, 300 epochs, from the release of MobileMamba's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/mobilemamba_b1_300e.pth'),
    ),
    neck=dict(in_channels=(200, 376), out_channels=(200, 376, 512, 256, 256, 128)),
    bbox_head=dict(type='tinyvim_mm.SSDHead', in_channels=(200, 376, 512, 256, 256, 128)),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2.4e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=0.1),
    paramwise_cfg=_base_.pop('no_decay').norms,
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=60, end=120, convert_to_iter_based=True),
]
