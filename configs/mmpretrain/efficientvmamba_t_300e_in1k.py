"""EfficientVMamba-T on ImageNet-1K, 300 epochs.

Numbers are those of the published training log; the released configs say otherwise.
"""

_base_ = [
    './_base_/models/classifier.py',
    './_base_/datasets/imagenet_efficientvmamba.py',
    './_base_/schedules/adamw_300e.py',
]

model = dict(
    backbone=dict(
        type='tinyvim_mm.EfficientVMamba',
        arch='t',
        out_indices=(3,),
        normalize_outputs=False,
        drop_path_rate=0.1,
    ),
    head=dict(type='tinyvim_mm.NormHead', in_channels=384),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)]),
)

# 8 GPUs with 256 images each.
train_dataloader = dict(batch_size=256)
auto_scale_lr = dict(base_batch_size=2048)
optim_wrapper = dict(
    optimizer=dict(lr=2e-3, weight_decay=0.04),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=_base_.pop('no_decay').vectors,
)
param_scheduler = [
    # From 1e-7.
    dict(type='LinearLR', start_factor=5e-5, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=20, end=300),
]

custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True)]  # decay 0.9999
