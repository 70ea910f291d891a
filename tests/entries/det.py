# Detection on two shipped pictures, as a user writes it: from the installed package.
_base_ = 'tinyvim_mm::mmdet/retinanet_tinyvim_b_1x_coco.py'
DATA = '{{$TINYVIM_SAMPLES:data/sample}}/coco/'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dims=(8, 8, 8, 8), depths=(1, 1, 1, 1)),
        init_cfg=None,
    ),
    neck=dict(in_channels=[8, 8, 8]),
)
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
for p in (train_pipeline, test_pipeline):
    for t in p:
        if t['type'] == 'Resize':
            t['scale'] = (96, 64)
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=DATA, pipeline=train_pipeline, indices=2),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=DATA, pipeline=test_pipeline, indices=2),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=DATA + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1, val_interval=1)
