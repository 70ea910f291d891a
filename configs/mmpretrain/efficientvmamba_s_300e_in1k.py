"""EfficientVMamba-S on ImageNet-1K, 300 epochs."""

_base_ = './efficientvmamba_t_300e_in1k.py'

model = dict(backbone=dict(arch='s'), head=dict(in_channels=512))
