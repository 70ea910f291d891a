"""CamVid at its own size with Semantic FPN, 1,500 iterations of 8 images, for every backbone."""

_base_ = [
    '../../mmseg/_base_/models/fpn.py',
    '../../mmseg/_base_/schedules/adamw_40k.py',
    'mmseg::_base_/default_runtime.py',
]

crop_size = (352, 480)
model = dict(
    data_preprocessor=dict(size=crop_size),
    # Half of the usual width: for 11 classes enough, and the segmentor has 7 million parameters.
    neck=dict(out_channels=128),
    decode_head=dict(num_classes=11, in_channels=[128] * 4),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(480, 360), ratio_range=(0.75, 1.75), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeToMultiple', size_divisor=32),
    # After resizing: the prediction is scaled back and compared at the size of the photograph.
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='tinyvim_mm.CamVid',
        data_root='data/camvid',
        data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='tinyvim_mm.CamVid',
        data_root='data/camvid',
        data_prefix=dict(img_path='images/val', seg_map_path='annotations/val'),
        pipeline=test_pipeline,
    ),
)
# Used once, by `tinyvim-mm test`.
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='tinyvim_mm.CamVid',
        data_root='data/camvid',
        data_prefix=dict(img_path='images/test', seg_map_path='annotations/test'),
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='tinyvim_mm.IoUPerClass', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(lr=5e-4, weight_decay=0.01),
    paramwise_cfg=_base_.pop('no_decay').scan,
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, begin=0, end=100, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=100, end=1500, by_epoch=False),
]
train_cfg = dict(max_iters=1500, val_interval=300)
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=2))
auto_scale_lr = dict(enable=False, base_batch_size=8)
randomness = dict(seed=0)
