"""ImageNet-1K for MobileMamba, in all sizes of its images.

RandAugment m9 mstd0.5 inc1, random erasing 0.25, bilinear or bicubic resizing by chance; tests crop
0.875 of the shorter side. timm has no color jitter beside RandAugment, whatever its flag says, and
neither has this. A recipe takes its size out with `pop`, so that the others are not saved with it.
"""

_base_ = 'mmpretrain::_base_/datasets/imagenet_bs128_poolformer_small_224.py'

train_pipelines = {
    f'pixels_{size}': [
        dict(type='LoadImageFromFile'),
        dict(
            type='RandomChoice',
            transforms=[
                [dict(type='RandomResizedCrop', scale=size, backend='pillow', interpolation=how)]
                for how in ('bilinear', 'bicubic')
            ],
        ),
        # Flip, RandAugment, random erasing, packing.
        *_base_.train_dataloader.dataset.pipeline[2:],
    ]
    for size in (192, 224, 256, 384, 512)
}
test_pipelines = {
    f'pixels_{size}': [
        dict(type='LoadImageFromFile'),
        dict(
            type='ResizeEdge',
            scale=int(size / 0.875),
            edge='short',
            backend='pillow',
            interpolation='bicubic',
        ),
        dict(type='CenterCrop', crop_size=size),
        dict(type='PackInputs'),
    ]
    for size in (192, 224, 256, 384, 512)
}
