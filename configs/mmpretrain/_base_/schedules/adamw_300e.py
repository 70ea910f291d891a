"""300 epochs of 8 x 128 images with AdamW in mixed precision; a recipe sets rates and course."""

_base_ = ['mmpretrain::_base_/default_runtime.py', '../../../_base_/weight_decay.py']

auto_scale_lr = dict(base_batch_size=1024)
optim_wrapper = dict(
    constructor='tinyvim_mm.RecipeOptimWrapperConstructor',
    type='AmpOptimWrapper',  # single precision where there is no accelerator
    optimizer=dict(type='AdamW'),
)

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))

# As mmpretrain's, without the scope that mmengine adds: its browse_dataset stumbles over that.
visualizer = dict(
    _delete_=True, type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)
