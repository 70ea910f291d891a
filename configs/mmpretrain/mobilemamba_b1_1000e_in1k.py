"""MobileMamba-B1 on ImageNet-1K, 1000 epochs, taught by TResNet-L-V2."""

_base_ = ['./mobilemamba_b1_300e_in1k.py', './_base_/models/tresnet_teacher.py']

model = dict(distillation=_base_.pop('soft_distillation'))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=1000)]
train_cfg = dict(max_epochs=1000)
