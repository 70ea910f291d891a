# Classification on the shipped pictures, as a user writes it: from the installed package.
_base_ = 'tinyvim_mm::mmpretrain/tinyvim_s_300e_in1k.py'
CLASSES = dict(classes=['cup', 'dog', 'laptop', 'oven', 'person'])
data_preprocessor = dict(num_classes=5)
DATA = '{{$TINYVIM_SAMPLES:data/sample}}/imagenet'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1)),
        init_cfg=None,
    ),
    head=dict(in_channels=8, num_classes=5),
    distillation=None,
)
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
for p in (train_pipeline, test_pipeline):
    for t in p:
        if 'scale' in t:
            t['scale'] = 64
        if 'crop_size' in t:
            t['crop_size'] = 64
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=DATA, split='train', metainfo=CLASSES, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=DATA, split='val', metainfo=CLASSES, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1, val_interval=1)
