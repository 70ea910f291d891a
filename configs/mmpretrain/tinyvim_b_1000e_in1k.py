"""TinyViM-B on ImageNet-1K, 1000 epochs, taught by RegNetY-160: 82.1 % top-1 published."""

_base_ = './tinyvim_b_300e_in1k.py'

param_scheduler = [
    # From 1e-6.
    dict(type='LinearLR', start_factor=5e-4, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=5, end=1000),
]
train_cfg = dict(max_epochs=1000)
