"""TinyViM-L on ImageNet-1K, 1000 epochs, taught by RegNetY-160: 83.6 % top-1 published."""

_base_ = './tinyvim_b_1000e_in1k.py'

model = dict(backbone=dict(arch='l'), head=dict(in_channels=512))
