"""TinyViM-S on Imagenette, 60 epochs, with a little of what keeps a long training from overfitting."""

_base_ = './tinyvim_s_15e_imagenette.py'

model = dict(
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)],
        probs=[0.25, 0.25],
    ),
)
train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=1,
        total_level=10,
        magnitude_level=6,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
    ),
    _base_.train_pipeline[-1],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
param_scheduler = [
    dict(_base_.param_scheduler[0], end=3),
    dict(_base_.param_scheduler[1], begin=3, end=60),
]
train_cfg = dict(max_epochs=60)
