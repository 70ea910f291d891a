"""SSDLite with MobileMamba-B1 on COCO, images of 512 pixels, 120 epochs.

As published, the anchors are those of 320 pixels: the same strides and sizes.
"""

_base_ = './ssdlite_mobilemamba_b1_120e_coco.py'

# What is resized to 320 pixels, to 512.
train_pipeline = [
    dict(step, scale=(512, 512)) if step['type'] == 'Resize' else step
    for step in _base_.train_dataloader.dataset.dataset.pipeline
]
test_pipeline = [
    dict(step, scale=(512, 512)) if step['type'] == 'Resize' else step
    for step in _base_.val_dataloader.dataset.pipeline
]
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=train_pipeline)))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
