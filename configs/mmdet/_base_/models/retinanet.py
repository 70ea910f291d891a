"""mmdet's RetinaNet with FPN, without its backbone."""

_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'

model = dict(backbone=dict(_delete_=True))
