"""Settings of mmdet 2.x, mmseg 0.x and mmcls, which mmengine passes over without a word."""

import ast
import json
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Set, Tuple

from ..core.errors import UsageError
from ..core.paths import shown

#: What mmengine does not read, and what is read in its place.
OLD_KEYS: Dict[str, str] = {
    'data': 'train_dataloader, val_dataloader, test_dataloader: samples_per_gpu is their '
    'batch_size, workers_per_gpu their num_workers, data.train their dataset',
    'optimizer': 'optim_wrapper=dict(optimizer=dict(...))',
    'optimizer_config': 'optim_wrapper: grad_clip is its clip_grad=dict(max_norm=...)',
    'fp16': "optim_wrapper.type='AmpOptimWrapper', or --amp",
    'lr_config': "param_scheduler, a list: dict(type='LinearLR', ...) for the warm-up, then "
    "dict(type='MultiStepLR', ...) or another",
    'momentum_config': 'param_scheduler, with schedulers of the momentum',
    'runner': "train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=...) or "
    "dict(type='IterBasedTrainLoop', max_iters=...)",
    'total_epochs': "train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=...)",
    'total_iters': "train_cfg=dict(type='IterBasedTrainLoop', max_iters=...)",
    'evaluation': 'val_evaluator and test_evaluator; its interval is train_cfg.val_interval, its '
    'save_best default_hooks.checkpoint.save_best',
    'checkpoint_config': "default_hooks.checkpoint=dict(type='CheckpointHook', interval=...)",
    'log_config': 'default_hooks.logger.interval, and for TensorBoard and others '
    'visualizer.vis_backends',
    'workflow': 'train_cfg.val_interval: the validation has loops of its own',
    'resume_from': '--resume CHECKPOINT, or resume=True and load_from',
    'auto_resume': '--resume, or resume=True',
    'dist_params': "env_cfg.dist_cfg=dict(backend='nccl')",
    'cudnn_benchmark': 'env_cfg.cudnn_benchmark',
    'opencv_num_threads': 'env_cfg.mp_cfg.opencv_num_threads',
    'mp_start_method': 'env_cfg.mp_cfg.mp_start_method',
    'seed': 'randomness=dict(seed=...)',
    'deterministic': 'randomness=dict(deterministic=True)',
}


def refuse_old_keys(path: Path, options: Optional[Mapping[str, Any]] = None) -> None:
    """Raise if a config sets what mmengine does not read: it would train with other settings.

    A name of this kind that the file itself uses again, as mmseg's schedules do
    (``optim_wrapper = dict(optimizer=optimizer)``), is no setting.

    Args:
        path: The config. Its bases beside it are read too, those of the toolboxes are not.
        options: What ``--cfg-options`` change: dotted keys to values.

    Raises:
        UsageError: It lists all of them, and what they are called now.
    """
    places: Dict[str, str] = {}
    used: Set[str] = set()
    for file, names, uses in _files(path, set()):
        used |= uses
        places.update({name: shown(file) for name in names if name in OLD_KEYS})
    places = {name: place for name, place in places.items() if name not in used}
    for key in options or {}:
        name = key.partition('.')[0]
        if name in OLD_KEYS:
            places[name] = '--cfg-options'
    if places:
        raise UsageError(
            f'mmengine does not read these settings of {shown(path)}, which are those of mmdet '
            '2.x, mmseg 0.x or mmcls; they would change nothing:\n'
            + '\n'.join(
                f'  {name} ({places[name]}) -> {new}'
                for name, new in OLD_KEYS.items()
                if name in places
            )
        )


def _files(path: Path, seen: Set[Path]) -> Iterator[Tuple[Path, Set[str], Set[str]]]:
    """Each file of a config with the names that it sets and those that it uses."""
    if path.resolve() in seen or not path.is_file():
        return
    seen.add(path.resolve())
    names, uses, bases = (_python if path.suffix == '.py' else _data)(path)
    yield path, names, uses
    for base in [bases] if isinstance(bases, str) else bases or ():
        if isinstance(base, str) and '::' not in base:
            yield from _files(path.parent / base, seen)


def _python(path: Path) -> Tuple[Set[str], Set[str], Any]:
    tree = ast.parse(path.read_text(encoding='utf-8'))
    names: Set[str] = set()
    bases: Any = ()
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        for target in targets:
            names |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
            if getattr(target, 'id', '') == '_base_':
                try:
                    bases = ast.literal_eval(node.value)
                except ValueError:
                    bases = ()  # computed
    uses = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            uses.add(node.id)
        elif isinstance(node, ast.Attribute) and getattr(node.value, 'id', '') == '_base_':
            uses.add(node.attr)
    return names, uses, bases


def _data(path: Path) -> Tuple[Set[str], Set[str], Any]:
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.json':
        content = json.loads(text)
    else:
        import yaml  # which mmengine needs

        content = yaml.safe_load(text)
    content = content if isinstance(content, dict) else {}
    return set(content), set(), content.get('_base_')
