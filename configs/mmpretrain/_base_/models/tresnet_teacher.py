"""The teacher of MobileMamba's recipes of 1000 epochs."""

# 5 x KL divergence from TResNet-L-V2, which gets the student's images, mixed as they are, in
# [0, 1] and at 224 pixels. How they are resized is not published. timm offers the weights as
# tresnet_v2_l.miil_in21k_ft_in1k.
soft_distillation = dict(
    type='soft',
    weight=5.0,
    teacher=dict(
        type='TimmClassifier',
        model_name='tresnet_v2_l',
        data_preprocessor=dict(mean=[0.0] * 3, std=[255.0] * 3, to_rgb=True),
    ),
    checkpoint='checkpoints/tresnet_v2_l.pth',
    image_size=224,
)
