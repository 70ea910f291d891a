"""VMamba-B on ImageNet-1K, 300 epochs."""

_base_ = './vmamba_t_300e_in1k.py'

model = dict(backbone=dict(arch='b', drop_path_rate=0.6), head=dict(in_channels=1024))
