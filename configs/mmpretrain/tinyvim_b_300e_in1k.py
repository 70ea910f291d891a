"""TinyViM-B on ImageNet-1K, 300 epochs, taught by RegNetY-160."""

_base_ = [
    './_base_/models/classifier.py',
    # RandAugment m9 mstd0.5 inc1, random erasing 0.25, bicubic; tests crop 224 of 248 (0.9).
    # timm has no color jitter beside RandAugment, whatever its flag says, and neither has this.
    'mmpretrain::_base_/datasets/imagenet_bs128_poolformer_small_224.py',
    './_base_/schedules/adamw_300e.py',
]

model = dict(
    backbone=dict(type='tinyvim_mm.TinyViM', arch='b', out_indices=(3,), normalize_outputs=False),
    head=dict(type='tinyvim_mm.DistillationHead', in_channels=384),
    # None trains without a teacher, and with one linear layer. The weights are those that DeiT
    # was taught with; timm offers them as regnety_160.deit_in1k.
    distillation=dict(
        type='hard',
        alpha=0.5,
        teacher=dict(type='TimmClassifier', model_name='regnety_160'),
        checkpoint='checkpoints/regnety_160.pth',
    ),
)

# Repeated augmentation: each image three times in the batch of all devices.
train_dataloader = dict(sampler=dict(_delete_=True, type='RepeatAugSampler', shuffle=True))

# A learning rate of 1e-3 per 512 images.
optim_wrapper = dict(
    optimizer=dict(lr=2e-3, weight_decay=0.025),
    # As the authors of the method do, the last linear layers are not clipped.
    clip_grad=dict(type='agc', clip_factor=0.02, exclude=('head.head.', 'head.dist_head.')),
    paramwise_cfg=_base_.pop('no_decay').scan,
)
param_scheduler = [
    # From 1e-6.
    dict(type='LinearLR', start_factor=5e-4, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, end=300),
]

# Decay 0.99996, of the batch statistics too, as timm averages them.
custom_hooks = [dict(type='EMAHook', momentum=4e-5, update_buffers=True)]
