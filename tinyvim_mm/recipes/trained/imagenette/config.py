data_preprocessor = dict(
    mean=[
        123.675,
        116.28,
        103.53,
    ],
    num_classes=10,
    std=[
        58.395,
        57.12,
        57.375,
    ],
    to_rgb=True)
default_scope = 'mmpretrain'
model = dict(
    backbone=dict(
        arch='s',
        normalize_outputs=False,
        out_indices=(3, ),
        type='tinyvim_mm.TinyViM'),
    distillation=None,
    head=dict(
        in_channels=224,
        loss=dict(label_smooth_val=0.1, type='LabelSmoothLoss'),
        num_classes=10,
        type='tinyvim_mm.DistillationHead'),
    train_cfg=dict(augments=None),
    type='tinyvim_mm.DistilledClassifier')
test_cfg = dict()
test_dataloader = dict(
    batch_size=128,
    dataset=dict(
        data_root='data/imagenette/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                backend='pillow',
                edge='short',
                interpolation='bicubic',
                scale=146,
                type='ResizeEdge'),
            dict(crop_size=128, type='CenterCrop'),
            dict(type='PackInputs'),
        ],
        split='val',
        type='tinyvim_mm.Imagenette'),
    num_workers=2,
    persistent_workers=True,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(
    topk=(
        1,
        5,
    ), type='Accuracy')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        backend='pillow',
        edge='short',
        interpolation='bicubic',
        scale=146,
        type='ResizeEdge'),
    dict(crop_size=128, type='CenterCrop'),
    dict(type='PackInputs'),
]
visualizer = dict(
    type='UniversalVisualizer', vis_backends=[
        dict(type='LocalVisBackend'),
    ])
