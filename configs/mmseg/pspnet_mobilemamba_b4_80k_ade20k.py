"""PSPNet with MobileMamba-B4 on ADE20K, 80k iterations of 8 x 4 images.

As published, no stage is dilated: the head works at stride 64, the auxiliary one at stride 32.
Tested at 2048x512, sides as they come.
"""

_base_ = './deeplabv3_mobilemamba_b4_80k_ade20k.py'

model = dict(
    decode_head=dict(
        _delete_=True,
        type='PSPHead',
        in_channels=448,
        in_index=2,
        channels=256,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)
