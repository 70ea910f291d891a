"""RTMDet-Ins with TinyViM-B on COCO, 300 epochs of 8 x 32 images: no published result.

Neck and head have the widths of RTMDet-Ins-M; data and schedule are RTMDet's.
"""

_base_ = ['mmdet::rtmdet/rtmdet-ins_l_8xb32-300e_coco.py', '../_base_/weight_decay.py']

model = dict(
    # RTMDet feeds BGR images; the ImageNet weights of TinyViM saw RGB.
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        _delete_=True,
        type='tinyvim_mm.TinyViM',
        arch='b',
        out_indices=(1, 2, 3),
        # ImageNet weights, 300 epochs, from the release of TinyViM's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/tinyvim_b_300e.pth'),
    ),
    neck=dict(in_channels=[96, 192, 384], out_channels=192, num_csp_blocks=2),
    bbox_head=dict(in_channels=192, feat_channels=192),
)

optim_wrapper = dict(paramwise_cfg=_base_.pop('no_decay').scan)

# RTMDet's learning rate belongs to 256 images a step; its own config says 16.
auto_scale_lr = dict(base_batch_size=256)
