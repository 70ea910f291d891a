"""VMamba-T, released as [s2l5], on ImageNet-1K, 300 epochs."""

_base_ = './vmamba_t_300e_in1k.py'

model = dict(backbone=dict(arch='t_s2l5'))
