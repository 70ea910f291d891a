"""VMamba-T, released as [s1l8], on ImageNet-1K, 300 epochs."""

_base_ = [
    './_base_/models/classifier.py',
    # RandAugment m9 mstd0.5 inc1, random erasing 0.25, bicubic; tests crop 224 of 256.
    # timm has no color jitter beside RandAugment, whatever its flag says, and neither has this.
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    './_base_/schedules/adamw_300e.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.VMamba',
        arch='t',
        out_indices=(3,),
        normalize_outputs=False,
        drop_path_rate=0.2,
    ),
    head=dict(type='tinyvim_mm.NormHead', in_channels=768),
)

# A learning rate of 5e-4 per 512 images.
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=_base_.pop('no_decay').vectors,
)
param_scheduler = [
    # From 1e-6.
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=20, end=300),
]

custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True)]  # decay 0.9999
