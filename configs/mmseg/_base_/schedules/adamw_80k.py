"""The 40k schedule, 2 times as long."""

_base_ = './adamw_40k.py'

train_cfg = dict(max_iters=80000, val_interval=8000)
default_hooks = dict(checkpoint=dict(interval=8000))
