"""TinyViM-S on Imagenette, 60 epochs, with EfficientNet-Lite2 as its teacher."""

_base_ = './tinyvim_s_distilled_15e_imagenette.py'

param_scheduler = [
    dict(_base_.param_scheduler[0], end=3),
    dict(_base_.param_scheduler[1], begin=3, end=60),
]
train_cfg = dict(max_epochs=60)
