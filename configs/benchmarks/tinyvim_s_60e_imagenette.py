"""TinyViM-S on Imagenette, 60 epochs, with a little that keeps long trainings from overfitting."""

_base_ = './tinyvim_s_15e_imagenette.py'

model = dict(
    # Half of the batches are not mixed. (mmpretrain changes a list of probabilities that it is
    # given, and then cannot read the config that a training saves.)
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0), None, None],
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
train_cfg = dict(max_epochs=60, val_interval=5)
