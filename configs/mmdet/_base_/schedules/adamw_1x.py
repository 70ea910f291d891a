"""mmdet's 1x schedule, 12 epochs of 8 x 2 images, with AdamW."""

_base_ = ['mmdet::_base_/schedules/schedule_1x.py', '../../../_base_/weight_decay.py']

optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05))
