"""TinyViM-L on ImageNet-1K, 300 epochs, taught by RegNetY-160."""

_base_ = './tinyvim_b_300e_in1k.py'

model = dict(backbone=dict(arch='l'), head=dict(in_channels=512))
