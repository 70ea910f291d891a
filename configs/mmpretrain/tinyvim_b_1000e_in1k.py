"""TinyViM-B on ImageNet-1K, 1000 epochs, taught by RegNetY-160."""

_base_ = './tinyvim_b_300e_in1k.py'

param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=1000)]
train_cfg = dict(max_epochs=1000)
