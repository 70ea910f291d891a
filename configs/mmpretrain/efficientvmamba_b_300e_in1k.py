"""EfficientVMamba-B on ImageNet-1K, 300 epochs."""

_base_ = './efficientvmamba_t_300e_in1k.py'

model = dict(backbone=dict(arch='b'), head=dict(in_channels=768))

# 8 GPUs with 128 images each, at the learning rate of twice as many.
train_dataloader = dict(batch_size=128)
auto_scale_lr = dict(base_batch_size=1024)
