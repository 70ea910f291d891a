"""TinyViM-S on ImageNet-1K, 1000 epochs, taught by RegNetY-160: 80.3 % top-1 published."""

_base_ = './tinyvim_b_1000e_in1k.py'

model = dict(backbone=dict(arch='s'), head=dict(in_channels=224))
