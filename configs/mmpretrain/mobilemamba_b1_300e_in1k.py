"""MobileMamba-B1 on ImageNet-1K, 300 epochs with images of 256 pixels: 79.9 % top-1 published."""

_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs128_poolformer_small_224.py',
    'mmpretrain::_base_/default_runtime.py',
]

model = dict(
    type='tinyvim_mm.DistilledClassifier',
    backbone=dict(type='tinyvim_mm.MobileMamba', arch='b1', out_indices=(2,), drop_path_rate=0.03),
    head=dict(
        type='tinyvim_mm.DistillationHead',
        num_classes=1000,
        in_channels=448,
        norm_after_pool=True,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)

# RandAugment m9 mstd0.5 inc1, random erasing 0.25, bilinear or bicubic resizing by chance; tests
# crop 256 of 292 (0.875). timm has no colour jitter beside RandAugment, whatever its flag says, and
# neither has this. The steps without a size have names, for the configs of other sizes.
rand_augment = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    total_level=10,
    magnitude_level=9,
    magnitude_std=0.5,
    hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
)
random_erasing = dict(
    type='RandomErasing',
    erase_prob=0.25,
    mode='rand',
    min_area_ratio=0.02,
    max_area_ratio=1 / 3,
    fill_color=[103.53, 116.28, 123.675],
    fill_std=[57.375, 57.12, 58.395],
)
crop = dict(type='RandomResizedCrop', scale=256, backend='pillow')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomChoice',
        transforms=[[dict(**crop, interpolation=how)] for how in ('bilinear', 'bicubic')],
    ),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    rand_augment,
    random_erasing,
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=292, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=256),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# 8 GPUs with 128 images each.
auto_scale_lr = dict(base_batch_size=1024)
optim_wrapper = dict(
    constructor='tinyvim_mm.RecipeOptimWrapperConstructor',
    type='AmpOptimWrapper',  # single precision where there is no accelerator
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    # Vectors take no weight decay; matrices do, those of the scan among them.
    paramwise_cfg=dict(flat_decay_mult=0.0),
)

param_scheduler = [
    # From 3e-6.
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=3e-5, begin=20, end=300, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

# Decay 0.9998, of the batch statistics too, as timm averages them.
custom_hooks = [dict(type='EMAHook', momentum=2e-4, update_buffers=True)]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
