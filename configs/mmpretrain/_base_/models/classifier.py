"""What all classifiers share: labels smoothed, and Mixup or CutMix in every batch."""

model = dict(
    type='tinyvim_mm.DistilledClassifier',
    head=dict(num_classes=1000, loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1)),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
