"""TinyViM-S on Imagenette, 60 epochs, with a teacher, see _base_/imagenet_teacher.py."""

_base_ = ['./tinyvim_s_60e_imagenette.py', './_base_/imagenet_teacher.py']

model = dict(distillation=_base_.pop('distillation'))
