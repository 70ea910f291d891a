# Segmentation on two shipped pictures, as a user writes it: from the installed package.
_base_ = 'tinyvim_mm::mmseg/fpn_tinyvim_s_40k_ade20k.py'
DATA = '{{$TINYVIM_SAMPLES:data/sample}}/ade/ADEChallengeData2016'
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1)),
        init_cfg=None,
    ),
    neck=dict(in_channels=[8, 8, 8, 8]),
)
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
for p in (train_pipeline, test_pipeline):
    for t in p:
        if 'scale' in t:
            t['scale'] = (64, 64)
        if 'crop_size' in t:
            t['crop_size'] = (64, 64)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=DATA, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=DATA, pipeline=test_pipeline, indices=2),
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
