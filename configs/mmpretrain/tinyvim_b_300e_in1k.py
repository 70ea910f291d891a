"""TinyViM-B on ImageNet-1K, 300 epochs, taught by RegNetY-160: 81.2 % top-1 published."""

_base_ = [
    # RandAugment m9 mstd0.5 inc1, random erasing 0.25, bicubic; tests crop 224 of 248 (0.9).
    # timm has no colour jitter beside RandAugment, whatever its flag says, and neither has this.
    'mmpretrain::_base_/datasets/imagenet_bs128_poolformer_small_224.py',
    'mmpretrain::_base_/default_runtime.py',
]

model = dict(
    type='tinyvim_mm.DistilledClassifier',
    backbone=dict(type='tinyvim_mm.TinyViM', arch='b', out_indices=(3,), normalize_outputs=False),
    head=dict(
        type='tinyvim_mm.DistillationHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
    # None trains without a teacher, and with one linear layer. The weights are those that DeiT
    # was taught with; timm offers them as regnety_160.deit_in1k.
    distillation=dict(
        type='hard',
        alpha=0.5,
        teacher=dict(type='TimmClassifier', model_name='regnety_160'),
        checkpoint='checkpoints/regnety_160.pth',
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)

# Repeated augmentation: each image three times in the batch of all devices.
train_dataloader = dict(sampler=dict(_delete_=True, type='RepeatAugSampler', shuffle=True))

# 8 GPUs with 128 images each, at a learning rate of 1e-3 per 512 images.
auto_scale_lr = dict(base_batch_size=1024)
optim_wrapper = dict(
    constructor='tinyvim_mm.RecipeOptimWrapperConstructor',
    type='AmpOptimWrapper',  # single precision where there is no accelerator
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.025),
    # As the authors of the method do, the last linear layers are not clipped.
    clip_grad=dict(type='agc', clip_factor=0.02, exclude=('head.head.', 'head.dist_head.')),
    # The state matrix and the skip weight of the scan take no weight decay.
    paramwise_cfg=dict(custom_keys={'A_logs': dict(decay_mult=0.0), 'Ds': dict(decay_mult=0.0)}),
)

param_scheduler = [
    # From 1e-6.
    dict(type='LinearLR', start_factor=5e-4, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, end=300),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# Decay 0.99996, of the batch statistics too, as timm averages them.
custom_hooks = [dict(type='EMAHook', momentum=4e-5, update_buffers=True)]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
