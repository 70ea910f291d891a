"""VMamba-S on ImageNet-1K, 300 epochs."""

_base_ = './vmamba_t_300e_in1k.py'

model = dict(backbone=dict(arch='s', drop_path_rate=0.3))
