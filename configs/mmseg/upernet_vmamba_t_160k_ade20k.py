"""UPerNet with VMamba-T [s1l8] on ADE20K, 160k iterations of 8 x 2 images.

Tested at 2048x512, sides as they come.
"""

_base_ = [
    './_base_/models/upernet.py',
    'mmseg::_base_/datasets/ade20k.py',
    './_base_/schedules/swin_160k.py',
    'mmseg::_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.VMamba',
        arch='t',
        drop_path_rate=0.2,
        # ImageNet weights, 300 epochs, from the release of VMamba's authors.
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vmamba_t_300e.pth'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)

optim_wrapper = dict(paramwise_cfg=_base_.pop('no_decay').norms)

train_dataloader = dict(batch_size=2)
