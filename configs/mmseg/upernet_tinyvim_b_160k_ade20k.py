"""UPerNet with TinyViM-B on ADE20K, 160k iterations of 8 x 2 images: no published result.

The schedule is the one customary for UPerNet on ADE20K since Swin: AdamW, lr 6e-5, weight decay
0.01, 1500 iterations of warm-up, then linear to zero. It was not tuned for TinyViM.
"""

_base_ = [
    './_base_/models/upernet.py',
    './_base_/datasets/ade20k_512x512.py',
    './_base_/schedules/swin_160k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.TinyViM',
        arch='b',
        # ImageNet weights, 300 epochs, from the release of TinyViM's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/tinyvim_b_300e.pth'),
    ),
    decode_head=dict(in_channels=[48, 96, 192, 384]),
    auxiliary_head=dict(in_channels=192),
)

optim_wrapper = dict(paramwise_cfg=_base_.pop('no_decay').scan)

train_dataloader = dict(batch_size=2)
