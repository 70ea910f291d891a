"""MobileMamba-T2 on ImageNet-1K, 1000 epochs, taught by TResNet-L-V2: 76.9 % top-1 published."""

_base_ = ['./mobilemamba_t2_300e_in1k.py', './_base_/mobilemamba_1000e.py']

model = dict(distillation={{_base_.soft_distillation}})

param_scheduler = {{_base_.schedule_1000e}}
train_cfg = dict(max_epochs=1000)
