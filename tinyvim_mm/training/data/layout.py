"""Check that all data of a run exist, before anything slow starts."""

from pathlib import Path
from typing import Iterable, Iterator, List, Optional

from mmengine.config import Config

from ...core.errors import UsageError
from ...core.paths import absent
from ...toolboxes import toolbox_of


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


def check_data(cfg: Config, splits: Iterable[str], command: Optional[str] = None) -> None:
    """Raise if a file or folder that the run will read does not exist.

    ``splits`` are those of ``'train'``, ``'val'``, ``'test'`` that the run uses; ``command`` is
    the user's, repeated in the message with ``--sample``.

    Raises:
        UsageError: It lists what is missing and tells how to cure it.
    """
    missing: List[str] = []
    helps: List[str] = []
    layouts = toolbox_of(cfg).LAYOUTS
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for part in datasets_of(loader['dataset']) if loader else ():
            found = _missing_of_dataset(part)
            missing += [f'{split}_dataloader: {line}' for line in found]
            layout = layouts.get(str(part.get('type')).rpartition('.')[2])
            if found and layout and part.get('data_root'):
                helps.append(layout.format(root=str(part['data_root']).rstrip('/')))
        evaluators = cfg.get(f'{split}_evaluator') or []
        for metric in evaluators if isinstance(evaluators, list) else [evaluators]:
            if absent(metric.get('ann_file')):
                missing.append(f'{split}_evaluator: file {metric["ann_file"]}')
    if not missing:
        return
    lines = ['data of this run do not exist:', *(f'  {line}' for line in dict.fromkeys(missing))]
    lines.append(f'Relative paths are seen from the current folder, {Path.cwd()}.')
    lines += dict.fromkeys(helps)
    lines.append('To run on the photographs shipped with the project instead:')
    lines.append(f'  {command} --sample' if command else '  sample=True')
    raise UsageError('\n'.join(lines))


def _missing_of_dataset(dataset: dict) -> List[str]:
    root = dataset.get('data_root') or ''
    if root and absent(root):
        return [f'folder {root}']
    lines = []
    ann_file = dataset.get('ann_file')
    if ann_file and absent(_join(root, ann_file)):
        lines.append(f'annotation file {_join(root, ann_file)}')
    prefixes = dataset.get('data_prefix')
    prefixes = prefixes.values() if isinstance(prefixes, dict) else [prefixes]
    for prefix in prefixes:
        if isinstance(prefix, str) and prefix and absent(_join(root, prefix)):
            lines.append(f'folder {_join(root, prefix)}')
    return lines


def _join(root: str, path: str) -> str:
    # As mmengine's BaseDataset does: absolute paths and addresses stay as they are.
    if not root or '://' in path:
        return path
    return f'{root}/{path}' if '://' in root else str(Path(root) / path)
