"""MobileMamba's optimizer, and the course of its learning rate over 300 epochs."""

_base_ = './adamw_300e.py'

optim_wrapper = dict(
    optimizer=dict(lr=3e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=_base_.pop('no_decay').vectors,
)
param_scheduler = [
    # From 3e-6.
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=3e-5, begin=20, end=300, convert_to_iter_based=True),
]

# Decay 0.9998, of the batch statistics too, as timm averages them.
custom_hooks = [dict(type='EMAHook', momentum=2e-4, update_buffers=True)]
