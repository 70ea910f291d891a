"""mmseg's 40k schedule with AdamW; a recipe sets rates, their course and the batch."""

_base_ = ['mmseg::_base_/schedules/schedule_40k.py', '../../../_base_/weight_decay.py']

optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW'))

# Distributed runs synchronize every batch norm; in one process all stay plain ones.
sync_bn = 'torch'
