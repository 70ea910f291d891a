"""Swin's 1x schedule, as VMamba and EfficientVMamba take it: a longer warm-up."""

_base_ = './adamw_1x.py'

optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=_base_.pop('no_decay').norms)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
