"""From data and plan to the settings of a config, on top of one of the project's recipes."""

from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

import numpy as np

from ..core.devices import computes_in_bfloat16
from ..core.errors import UsageError
from ..training.precision import CPU_WRAPPER
from .dataset import Data
from .plan import SCOPES, Plan, object_sides
from .writing import Code, Setting

if TYPE_CHECKING:
    from mmengine.config import Config

_TYPES = {
    'detect': ('MaskRCNN', 'FasterRCNN', 'CascadeRCNN', 'RetinaNet'),
    'segment': ('EncoderDecoder',),
    'classify': ('tinyvim_mm.DistilledClassifier', 'ImageClassifier'),
}
#: Below it the smallest anchors of the recipe, of 32 pixels, are too large for half of the objects
#: of a class.
_SMALL_OBJECT = 48
_META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')


def check_recipe(recipe: 'Config', plan: Plan) -> None:
    """Raise unless the recipe is of the task, and of a kind whose head this module resizes."""
    found = recipe.model.type
    if recipe.default_scope != SCOPES[plan.task] or found not in _TYPES[plan.task]:
        raise UsageError(
            f'--model {plan.model} is a {found} of {recipe.default_scope}; --task {plan.task} '
            f'takes configs of {SCOPES[plan.task]} with a {", ".join(_TYPES[plan.task])}. '
            'Others bring augmentation and sizes of their own: write a config for them by hand'
        )


def make_settings(
    data: Data, plan: Plan, recipe: 'Config', weights: Tuple[str, str]
) -> List[Setting]:
    """All settings of the config; ``weights`` are how they are loaded, and the file."""
    train = len(data.split('train'))
    steps = plan.steps_per_epoch(train)
    makers = {'detect': _detect, 'segment': _segment, 'classify': _classify}
    settings = [
        Setting('data_root', f'{data.root}/', f'The pictures ({data.layout}).'),
        Setting(
            'annotations',
            '{{ fileDirname }}/data/',
            'What was found in them and passed the checks; it stands beside this file.',
        ),
        Setting('metainfo', dict(classes=tuple(data.classes))),
        *_heads(recipe.model, len(data.classes)),
        *_weights(recipe, weights),
        *makers[plan.task](data, plan, recipe, steps),
        *_loaders(data, plan),
        Setting(
            'optim_wrapper.optimizer.lr',
            plan.lr,
            f'{plan.why["lr"]}; the recipe has {recipe.optim_wrapper.optimizer.lr:g}.',
        ),
        Setting('export_size', (plan.image_size,) * 2, 'What tinyvim-mm export takes untold.'),
        *_precision(plan),
        Setting(
            'auto_scale_lr',
            dict(_delete_=True, enable=False),
            'The rate above is for the batch above.',
        ),
        Setting('randomness', dict(seed=0), 'Two runs on one machine shall give the same.'),
    ]
    return settings


def _heads(model: Any, number: int, key: str = 'model') -> Iterator[Setting]:
    """Give every head as many classes as the data have; a list of heads is written as a whole."""
    for name, child in model.items():
        if name in ('backbone', 'distillation', 'data_preprocessor'):
            continue
        if name == 'num_classes':
            yield Setting(f'{key}.num_classes', number, f'The recipe has {child}.')
        elif isinstance(child, dict):
            yield from _heads(child, number, f'{key}.{name}')
        elif isinstance(child, (list, tuple)) and any(
            'num_classes' in c for c in child if isinstance(c, dict)
        ):
            heads = [_plain(dict(c, num_classes=number)) for c in child]
            yield Setting(f'{key}.{name}', heads, 'Stages, each with as many classes.')


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k != '_scope_'}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value


def _weights(recipe: 'Config', weights: Tuple[str, str]) -> Iterator[Setting]:
    how, file = weights
    if how == 'backbone':
        init = dict(_delete_=True, type='Pretrained', checkpoint=file)
        yield Setting('model.backbone.init_cfg', init, 'Weights of the backbone to start from.')
    else:
        why = (
            'All parts start from load_from.'
            if how == 'whole'
            else 'No weights were given: random.'
        )
        yield Setting('model.backbone.init_cfg', None, why)
    if how == 'whole':
        yield Setting('load_from', file, 'Heads of other classes in it are left out.')


def _detect(data: Data, plan: Plan, recipe: 'Config', steps: int) -> Iterator[Setting]:
    scale = (plan.image_size, plan.image_size)
    masks = data.has_masks and bool(recipe.model.get('roi_head', {}).get('mask_head'))
    load = dict(type='LoadAnnotations', with_bbox=True, with_mask=masks)
    train = [
        dict(type='LoadImageFromFile'),
        load,
        dict(type='RandomResize', scale=scale, ratio_range=(0.8, 1.25), keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs'),
    ]
    test = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=scale, keep_ratio=True),
        load,
        dict(type='PackDetInputs', meta_keys=_META),
    ]
    if recipe.model.get('roi_head', {}).get('mask_head') and not masks:
        why = 'Not every object has an outline: boxes alone are learned.'
        yield Setting('model.roi_head.mask_head', None, why)
        yield Setting('model.roi_head.mask_roi_extractor', None, 'As above.')
    yield from _anchors(data, plan, recipe.model)
    if plan.device == 'cpu':
        yield from _fewer_proposals(recipe.model)
    yield from _pipelines(plan, train, test)
    for split, part in _splits(data):
        key = f'{split}_dataloader.dataset'
        yield Setting(f'{key}.metainfo', Code('metainfo'))
        yield Setting(f'{key}.data_root', Code('data_root'))
        yield Setting(f'{key}.ann_file', Code(f"annotations + '{part}.json'"))
        yield Setting(f'{key}.data_prefix', dict(img=''))
        if split == 'train':
            why = 'Pictures without objects teach what is none; none is too small.'
            yield Setting(f'{key}.filter_cfg', dict(filter_empty_gt=False, min_size=1), why)
        else:
            key = f'{split}_evaluator'
            yield Setting(f'{key}.ann_file', Code(f"annotations + '{part}.json'"))
            yield Setting(f'{key}.metric', ['bbox', 'segm'] if masks else ['bbox'])
            yield Setting(f'{key}.classwise', True, 'AP of each class, too.')
    yield from _epochs(plan, steps, 'coco/bbox_mAP')


def _anchors(data: Data, plan: Plan, model: Any) -> Iterator[Setting]:
    """Half as large, where the recipe's are too large for a class."""
    medians = {name: np.median(s) for name, s in object_sides(data, plan.image_size).items()}
    if not medians or min(medians.values()) >= _SMALL_OBJECT:
        return
    smallest = min(medians, key=medians.__getitem__)
    why = (
        f'Half of the objects of {smallest} are below {medians[smallest]:.0f} pixels for the '
        "network: anchors half as large as the recipe's."
    )
    if 'rpn_head' in model:
        scales = [scale / 2 for scale in model.rpn_head.anchor_generator.scales]
        yield Setting('model.rpn_head.anchor_generator.scales', scales, why)
    else:
        scale = model.bbox_head.anchor_generator.octave_base_scale / 2
        yield Setting('model.bbox_head.anchor_generator.octave_base_scale', scale, why)


def _fewer_proposals(model: Any) -> Iterator[Setting]:
    train = model.get('train_cfg') or {}
    if 'rpn_proposal' not in train:
        return
    why = 'Smaller pictures have fewer anchors, and on a CPU the heads take most of a step.'
    if isinstance(train.rcnn, dict):
        yield Setting('model.train_cfg.rcnn.sampler.num', 128, why)
    yield Setting('model.train_cfg.rpn_proposal', dict(nms_pre=500, max_per_img=500), why)
    yield Setting('model.test_cfg.rpn', dict(nms_pre=500, max_per_img=300), 'As above.')


def _segment(data: Data, plan: Plan, recipe: 'Config', steps: int) -> Iterator[Setting]:
    side = plan.image_size
    crop, scale = (side, side), (4 * side, side)
    load = dict(type='LoadAnnotations')
    train = [
        dict(type='LoadImageFromFile'),
        load,
        dict(type='RandomResize', scale=scale, ratio_range=(0.75, 1.5), keep_ratio=True),
        dict(type='RandomCrop', crop_size=crop, cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackSegInputs'),
    ]
    test = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=scale, keep_ratio=True),
        dict(type='ResizeToMultiple', size_divisor=32),
        load,
        dict(type='PackSegInputs'),
    ]
    yield Setting('model.data_preprocessor.size', crop, 'Of the crops.')
    yield from _pipelines(plan, train, test)
    for split, part in _splits(data):
        yield Setting(
            f'{split}_dataloader.dataset',
            dict(
                _delete_=True,
                type='BaseSegDataset',
                metainfo=Code('metainfo'),
                data_root=Code('data_root'),
                ann_file=Code(f"annotations + '{part}.txt'"),
                data_prefix=dict(img_path='', seg_map_path=Code("annotations + 'label_maps'")),
                img_suffix='',
                seg_map_suffix='.png',
                reduce_zero_label=False,
                pipeline=Code(f'{"train" if split == "train" else "test"}_pipeline'),
            ),
        )
    total = steps * plan.epochs
    interval = steps * _interval(plan.epochs)
    why = f'{plan.epochs} epochs of {steps} steps: {plan.why["epochs"]}.'
    loop = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=total, val_interval=interval)
    yield Setting('train_cfg', loop, why)
    warm = max(1, min(200, total // 20))
    yield Setting(
        'param_scheduler',
        [
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm),
            dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=warm, end=total, by_epoch=False),
        ],
        'A warm-up, then as the recipe, over this length.',
    )
    yield from _hooks('mIoU', interval, steps)
    yield Setting('visualizer.alpha', 0.6, 'The picture shall be seen below its labels.')


def _classify(data: Data, plan: Plan, recipe: 'Config', steps: int) -> Iterator[Setting]:
    side, number = plan.image_size, len(data.split('train'))
    edge = round(side / 0.9)
    how = dict(backend='pillow', interpolation='bicubic')
    train = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=side, crop_ratio_range=(0.35, 1.0), **how),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='ColorJitter', brightness=0.2, contrast=0.2, saturation=0.2),
        dict(type='PackInputs'),
    ]
    test = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=edge, edge='short', **how),
        dict(type='CenterCrop', crop_size=side),
        dict(type='PackInputs'),
    ]
    if 'distillation' in recipe.model:
        yield Setting('model.distillation', None, 'No teacher knows these classes.')
    if number < 5000:
        yield Setting('model.train_cfg', None, f'{number} pictures are too few to be mixed.')
    yield Setting('data_preprocessor.num_classes', len(data.classes))
    yield from _pipelines(plan, train, test)
    for split, part in _splits(data):
        yield Setting(
            f'{split}_dataloader.dataset',
            dict(
                _delete_=True,
                type='CustomDataset',
                metainfo=Code('metainfo'),
                data_root=Code('data_root'),
                ann_file=Code(f"annotations + '{part}.txt'"),
                pipeline=Code(f'{"train" if split == "train" else "test"}_pipeline'),
            ),
        )
        if split == 'train':
            yield Setting(
                'train_dataloader.sampler',
                dict(_delete_=True, type='DefaultSampler', shuffle=True),
                'Every picture once an epoch.',
            )
        else:
            topk = (1, 5) if len(data.classes) > 5 else (1,)
            yield Setting(f'{split}_evaluator', dict(_delete_=True, type='Accuracy', topk=topk))
    yield Setting('custom_hooks', [], 'No moving average: it would lag behind so few steps.')
    yield from _epochs(plan, steps, 'accuracy/top1')


def _pipelines(plan: Plan, train: List[dict], test: List[dict]) -> Iterator[Setting]:
    yield Setting('train_pipeline', train, f'{plan.image_size} pixels: {plan.why["image_size"]}.')
    yield Setting('test_pipeline', test)


def _splits(data: Data) -> List[Tuple[str, str]]:
    """Parts of a config, and the splits that they read; a test set is not needed."""
    return [('train', 'train'), ('val', 'val'), ('test', 'test' if data.split('test') else 'val')]


def _loaders(data: Data, plan: Plan) -> Iterator[Setting]:
    for split in ('train', 'val', 'test'):
        key = f'{split}_dataloader'
        if plan.task == 'detect':
            kind = 'train' if split == 'train' else 'test'
            yield Setting(f'{key}.dataset.pipeline', Code(f'{kind}_pipeline'))
        batch = plan.batch_size if split == 'train' else None
        if batch or plan.task == 'classify':
            why = f'{plan.why["batch_size"]}.' if batch else ''
            yield Setting(f'{key}.batch_size', batch or plan.batch_size, why)
        yield Setting(f'{key}.num_workers', plan.workers, 'Of the machine.' if batch else '')
        yield Setting(f'{key}.persistent_workers', False)


def _precision(plan: Plan) -> Iterator[Setting]:
    if plan.device != 'cpu':
        yield Setting('optim_wrapper.type', 'AmpOptimWrapper', 'Mixed precision, on a GPU.')
        yield Setting('optim_wrapper.loss_scale', 'dynamic')
    elif computes_in_bfloat16():
        yield Setting('optim_wrapper.type', CPU_WRAPPER, 'This CPU computes fastest in bfloat16.')
    else:
        yield Setting('optim_wrapper.type', 'OptimWrapper', 'Single precision, on this CPU.')


def _interval(epochs: int) -> int:
    """Epochs between two validations: about ten in a training."""
    return max(1, epochs // 10)


def _epochs(plan: Plan, steps: int, best: str) -> Iterator[Setting]:
    every = _interval(plan.epochs)
    loop = dict(_delete_=True, by_epoch=True, max_epochs=plan.epochs, val_interval=every)
    yield Setting(
        'train_cfg', loop, f'{plan.epochs} epochs of {steps} steps: {plan.why["epochs"]}.'
    )
    warm = max(1, min(200, steps * plan.epochs // 20))
    yield Setting(
        'param_scheduler',
        [
            dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm),
            dict(
                type='CosineAnnealingLR',
                eta_min=plan.lr / 100,
                begin=0,
                end=plan.epochs,
                T_max=plan.epochs,
                by_epoch=True,
                convert_to_iter_based=True,
            ),
        ],
        'A warm-up, then down to a hundredth.',
    )
    yield from _hooks(best, every, steps)


def _hooks(best: str, interval: int, steps: Optional[int]) -> Iterator[Setting]:
    hook = dict(interval=interval, save_best=best, rule='greater', max_keep_ckpts=1)
    yield Setting('default_hooks.checkpoint', hook, 'The latest, to resume, and the best.')
    every = max(1, min(20, steps))
    yield Setting('default_hooks.logger.interval', every)
    yield Setting('log_processor.window_size', every)
