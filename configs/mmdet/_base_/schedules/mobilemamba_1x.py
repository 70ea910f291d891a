"""MobileMamba's 12 epochs: six at the full learning rate, then six of a cosine."""

_base_ = './adamw_1x.py'

optim_wrapper = dict(
    clip_grad=dict(max_norm=0.1),
    paramwise_cfg=_base_.pop('no_decay').norms,
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='CosineAnnealingLR', eta_min=0.0, begin=6, end=12, convert_to_iter_based=True),
]
