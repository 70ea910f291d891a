"""MobileMamba, whose size a recipe adds, and its classifier."""

_base_ = './classifier.py'

model = dict(
    backbone=dict(type='tinyvim_mm.MobileMamba', out_indices=(2,)),
    head=dict(type='tinyvim_mm.DistillationHead', norm_after_pool=True),
)
