"""MobileMamba-T4 on ImageNet-1K, 300 epochs with images of 192 pixels: 76.1 % top-1 published."""

_base_ = './mobilemamba_t2_300e_in1k.py'

model = dict(backbone=dict(arch='t4'), head=dict(in_channels=448))
