"""VMamba-T, released as [s1l8], on ImageNet-1K, 300 epochs: 82.6 % top-1 published."""

_base_ = [
    # RandAugment m9 mstd0.5 inc1, random erasing 0.25, bicubic; tests crop 224 of 256.
    # timm has no colour jitter beside RandAugment, whatever its flag says, and neither has this.
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/default_runtime.py',
]

model = dict(
    type='tinyvim_mm.DistilledClassifier',
    backbone=dict(
        type='tinyvim_mm.VMamba',
        arch='t',
        out_indices=(3,),
        normalize_outputs=False,
        drop_path_rate=0.2,
    ),
    head=dict(
        type='tinyvim_mm.NormHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)

# 8 GPUs with 128 images each, at a learning rate of 5e-4 per 512 images.
train_dataloader = dict(batch_size=128)
auto_scale_lr = dict(base_batch_size=1024)
optim_wrapper = dict(
    constructor='tinyvim_mm.RecipeOptimWrapperConstructor',
    type='AmpOptimWrapper',  # single precision where there is no accelerator
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    # As trained: vectors take no weight decay; the matrices A_logs and dt_projs_bias do.
    paramwise_cfg=dict(flat_decay_mult=0.0),
)

param_scheduler = [
    # From 1e-6.
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=20, end=300),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True)]  # decay 0.9999
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
