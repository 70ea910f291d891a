"""The 40k schedule, 4 times as long."""

_base_ = './adamw_40k.py'

train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
