"""Check that all data and weights of a run exist, before anything slow starts."""

from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Iterator, List, Optional

from .errors import UsageError

if TYPE_CHECKING:
    from mmengine.config import Config

_COCO_HELP = (
    'COCO 2017 (https://cocodataset.org) is expected at {root}/ with this layout:\n'
    '  annotations/instances_train2017.json, annotations/instances_val2017.json\n'
    '  train2017/*.jpg, val2017/*.jpg\n'
    'A link serves: ln -s /where/you/have/coco {root}'
)


def datasets_of(dataset: dict) -> Iterator[dict]:
    """The plain datasets inside a dataset config, through all wrappers.

    ``RepeatDataset``, ``ClassBalancedDataset``, ``MultiImageMixDataset`` and
    the like hold one under ``dataset``, ``ConcatDataset`` several under
    ``datasets``.
    """
    if isinstance(dataset.get('dataset'), dict):
        yield from datasets_of(dataset['dataset'])
    elif isinstance(dataset.get('datasets'), (list, tuple)):
        for part in dataset['datasets']:
            yield from datasets_of(part)
    else:
        yield dataset


def check_data(cfg: 'Config', splits: Iterable[str], command: str) -> None:
    """Raise if a file or folder that the run will read does not exist.

    Args:
        cfg: Config after all command line options.
        splits: Which of ``'train'``, ``'val'``, ``'test'`` the run uses.
        command: The user's command, without ``--sample``; repeated in the
            message with it.

    Raises:
        UsageError: It lists what is missing and tells how to cure it.
    """
    missing: List[str] = []
    roots: List[str] = []
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for part in datasets_of(loader['dataset']) if loader else ():
            found = _missing_of_dataset(part)
            missing += [f'{split}_dataloader: {line}' for line in found]
            if found and _is_coco(part) and part.get('data_root'):
                roots.append(str(part['data_root']).rstrip('/'))
        evaluators = cfg.get(f'{split}_evaluator') or []
        for metric in evaluators if isinstance(evaluators, list) else [evaluators]:
            if _absent(metric.get('ann_file')):
                missing.append(f'{split}_evaluator: file {metric["ann_file"]}')
    if not missing:
        return
    lines = ['data of this run do not exist:', *(f'  {line}' for line in dict.fromkeys(missing))]
    lines.append(f'Relative paths are seen from the current folder, {Path.cwd()}.')
    lines += [_COCO_HELP.format(root=root) for root in dict.fromkeys(roots)]
    lines.append('To run on the photographs shipped with the project instead:')
    lines.append(f'  {command} --sample')
    raise UsageError('\n'.join(lines))


def check_pretrained(cfg: 'Config') -> None:
    """Raise if a model part is to start from a weight file that does not exist.

    Raises:
        UsageError: It names the part, the file and the cure.
    """
    for key, checkpoint in absent_pretrained(cfg):
        raise UsageError(
            f'{key}: there is no weight file {checkpoint} (seen from {Path.cwd()}).\n'
            "Download the ImageNet weights from the release of the model's authors and save "
            'them there, or name the file you have:\n'
            f'  --cfg-options {key}.checkpoint=FILE\n'
            'To start from random weights, which the published results do not:\n'
            f'  --cfg-options {key}=None'
        )


def absent_pretrained(cfg: 'Config') -> Iterator[tuple]:
    """``(key of the init_cfg, checkpoint)`` of all local weight files that are absent."""

    def walk(node: object, key: str) -> Iterator[tuple]:
        if not isinstance(node, dict):
            return
        init_cfg = node.get('init_cfg')
        pretrained = isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained'
        if pretrained and _absent(init_cfg.get('checkpoint')):
            yield f'{key}.init_cfg', init_cfg['checkpoint']
        for name, child in node.items():
            yield from walk(child, f'{key}.{name}')

    yield from walk(cfg.get('model'), 'model')


def _missing_of_dataset(dataset: dict) -> List[str]:
    root = dataset.get('data_root') or ''
    if root and _absent(root):
        return [f'folder {root}']
    lines = []
    ann_file = dataset.get('ann_file')
    if ann_file and _absent(_join(root, ann_file)):
        lines.append(f'annotation file {_join(root, ann_file)}')
    prefixes = dataset.get('data_prefix')
    prefixes = prefixes.values() if isinstance(prefixes, dict) else [prefixes]
    for prefix in prefixes:
        if isinstance(prefix, str) and prefix and _absent(_join(root, prefix)):
            lines.append(f'folder {_join(root, prefix)}')
    return lines


def _join(root: str, path: str) -> str:
    # As mmengine's BaseDataset does: absolute paths and addresses stay as they are.
    if not root or '://' in path:
        return path
    return f'{root}/{path}' if '://' in root else str(Path(root) / path)


def _absent(path: Optional[str]) -> bool:
    return isinstance(path, str) and '://' not in path and not Path(path).exists()


def _is_coco(dataset: dict) -> bool:
    return str(dataset.get('type')).endswith('CocoDataset')
