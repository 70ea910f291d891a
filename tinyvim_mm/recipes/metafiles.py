"""What is published of the recipes, and what their configs add up to: ``configs/*/metafile.yml``.

Published results and papers are written by hand there, and in :data:`PEERS` those of networks
without a config; no other file repeats them. Parameters, FLOPs, schedules and batch sizes are
taken from the configs by this module, and measured results from logs by
:mod:`tinyvim_mm.records.results`.
"""

import difflib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from ..core.errors import MachineError, UsageError
from ..core.pages import between_markers
from ..core.paths import CONFIG_ROOT, MODEL_INDEX, PROJECT_ROOT, shown
from .configs import list_configs, load_config
from .zoo_table import MARKER, published_table

if TYPE_CHECKING:
    from mmengine.config import Config

#: What the note of a result begins with: its source. A result without a note is of the paper.
PUBLISHED = 'published in the paper'
RELEASED = 'published with the release'
MEASURED = 'measured with this code'

#: Published figures of networks and variants that have no config here.
PEERS = CONFIG_ROOT / 'peers.yml'

_HEADER = (
    '# Parameters, FLOPs, epochs or iterations and batch sizes are computed:\n'
    '#   python tools/update_metafiles.py\n'
    '# FLOPs count a multiply-add as one, include the scan, and are of the form that is trained,\n'
    '# whose parallel branches are not fused. What is published stands here alone.\n'
)


def update(check: bool = False) -> None:
    """Write all metafiles, the index, and the README's table of the recipes.

    Args:
        check: Write nothing, and raise if something would change.

    Raises:
        UsageError: ``check`` found differences; they are in the message.

    Example:
        >>> from tinyvim_mm.recipes.metafiles import update
        >>> update(check=True)  # doctest: +SKIP
    """
    import yaml

    wanted = {path: render(path) for path in metafiles()}
    imports = ''.join(f'- {path.relative_to(PROJECT_ROOT).as_posix()}\n' for path in wanted)
    table = published_table([yaml.safe_load(text) for text in wanted.values()])
    wanted[MODEL_INDEX] = f'Import:\n{imports}'
    readme = PROJECT_ROOT / 'README.md'
    if readme.is_file():  # an installed package has none
        wanted[readme] = between_markers(readme, MARKER, table)
    differences = []
    for path, text in wanted.items():
        before = path.read_text(encoding='utf-8') if path.is_file() else ''
        if text == before:
            continue
        name = shown(path)
        differences += difflib.unified_diff(
            before.splitlines(), text.splitlines(), name, f'{name}, computed', lineterm=''
        )
        if not check:
            path.write_text(text, encoding='utf-8')
            print(f'Written: {name}')
    if check and differences:
        changes = '\n'.join(differences)
        raise UsageError(f'run tools/update_metafiles.py without --check to apply:\n{changes}')


def figures(name: str, source: str = PUBLISHED) -> Dict[str, float]:
    """What one source says of a network.

    Args:
        name: Of an entry: a config's, or one of :data:`PEERS`.
        source: :data:`PUBLISHED`, :data:`RELEASED` or :data:`MEASURED`.

    Returns:
        Metric, in the words of the metafiles, to figure.

    Raises:
        KeyError: No metafile has such an entry.

    Example:
        >>> from tinyvim_mm.recipes import metafiles
        >>> sorted(metafiles.figures('mask_rcnn_tinyvim_b_1x_coco'))
        ['Images/s', 'box AP', 'mask AP']
    """
    results = _entries()[name].get('Results') or []
    found: Dict[str, float] = {}
    for result in results:
        if result.get('Note', PUBLISHED).startswith(source):
            found.update(result['Metrics'])
    return found


@cache
def _entries() -> Dict[str, Dict[str, Any]]:
    contents = [_read(path) for path in (*metafiles(), PEERS)]
    return {entry['Name']: entry for content in contents for entry in content['Models']}


def _read(path: Path) -> Dict[str, Any]:
    """Content of a metafile, empty where there is none."""
    import yaml

    return (yaml.safe_load(path.read_text(encoding='utf-8')) or {}) if path.is_file() else {}


def metafiles() -> List[Path]:
    """The metafile of each folder of configs, whether it exists or not."""
    return sorted({path.parent / 'metafile.yml' for path in list_configs()})


def render(path: Path, with_flops: bool = True) -> str:
    """Text of a metafile with its numbers computed anew.

    FLOPs take a minute for all; without ``with_flops`` those of the file stay.
    """
    content = _read(path)
    collections = content.get('Collections') or [{'Name': 'TinyViM'}]
    entries = {entry['Config']: entry for entry in content.get('Models') or []}
    models = []
    for config in sorted(path.parent.glob('*.py')):
        name = config.relative_to(PROJECT_ROOT).as_posix()
        entry = entries.get(name, {})
        metadata = {**(entry.get('Metadata') or {}), **computed_metadata(config, with_flops)}
        rest = {key: entry[key] for key in entry if key not in ('Metadata', 'Name', 'Config')}
        rest.setdefault('In Collection', collections[0]['Name'])
        models.append({'Name': config.stem, 'Config': name, 'Metadata': metadata, **rest})
    return _dump({'Collections': collections, 'Models': models})


def _dump(content: dict) -> str:
    import yaml

    return _HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def write_measured(config: Path, results: List[dict]) -> Path:
    """Put measured results into the metafile beside a config, and return its path.

    They replace those measured before; published ones stay.

    Args:
        config: One of the project's configs.
        results: Entries for ``Results``, whose ``Note`` begins with :data:`MEASURED`.

    Raises:
        UsageError: The metafile has no entry for the config.
    """
    path = config.parent / 'metafile.yml'
    content = _read(path)
    entries = [e for e in content.get('Models') or [] if e['Name'] == config.stem]
    if not entries:
        raise UsageError(
            f'{shown(path)} has no entry for {config.stem}: run tools/update_metafiles.py first'
        )
    (entry,) = entries
    others = [r for r in entry.get('Results') or [] if not r.get('Note', '').startswith(MEASURED)]
    entry['Results'] = [*others, *results]
    path.write_text(_dump(content), encoding='utf-8')
    return path


def computed_metadata(path: Path, with_flops: bool = True) -> Dict[str, Any]:
    """What follows from a config, with or without its FLOPs.

    Raises:
        MissingPackageError: The toolbox of the config is missing.
        UsageError: ``with_flops`` without the compiled operators.
    """
    from ..core.compat import apply

    apply()
    cfg = load_config(path)
    metadata: Dict[str, Any] = {'Parameters': count_parameters(cfg)}
    if with_flops:
        part, size = _counted_part(cfg)
        metadata['FLOPs'] = _count_flops(cfg, part, size)
        metadata['FLOPs Of'] = f'{part}, one image of {size[0]}x{size[1]}'
    backbone = cfg.model.backbone
    metadata['Backbone'] = f'{backbone.type.rpartition(".")[2].lower()}_{backbone.arch}'
    loop = cfg.train_cfg
    if 'max_epochs' in loop:
        metadata['Epochs'] = loop.max_epochs
    else:
        metadata['Iterations'] = loop.max_iters
    metadata['Batch Size'] = cfg.auto_scale_lr.base_batch_size
    return metadata


def count_parameters(cfg: 'Config') -> int:
    """Parameters of the whole model."""
    import torch

    key = f'{cfg.model}'
    if key not in _parameters:
        with torch.device('meta'):  # quick, and without memory
            model = _build(cfg, cfg.model)
        _parameters[key] = sum(parameter.numel() for parameter in model.parameters())
    return _parameters[key]


def _build(cfg: 'Config', model: dict) -> Any:
    from mmengine.registry import MODELS, DefaultScope

    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(model)


def _counted_part(cfg: 'Config') -> Tuple[str, Tuple[int, int]]:
    """What FLOPs are given of: its name and the height and width of the image.

    Detectors and segmentors are not traceable as a whole on every version.
    """
    if cfg.default_scope == 'mmpretrain':
        size = _transform(cfg, 'CenterCrop').crop_size
        return 'classifier', (size, size)
    if cfg.default_scope == 'mmseg':
        return 'backbone', tuple(cfg.model.data_preprocessor.size)
    divisor = cfg.model.data_preprocessor.get('pad_size_divisor', 1)
    short, long = sorted(-(-side // divisor) * divisor for side in _transform(cfg, 'Resize').scale)
    return 'backbone', (short, long)


def _transform(cfg: 'Config', kind: str) -> Any:
    return next(step for step in cfg.test_dataloader.dataset.pipeline if step.type == kind)


# By model: several configs share one, or a backbone and a size.
_parameters: Dict[str, int] = {}
_flops: Dict[str, int] = {}


def _count_flops(cfg: 'Config', part: str, size: Tuple[int, int]) -> int:
    import torch
    from mmengine.analysis import FlopAnalyzer

    from ..ops import available_backends
    from ..ops.flops import OP_HANDLES

    obstacle = available_backends('cpu')['cpu']
    if obstacle is not None:
        raise MachineError(f'counting FLOPs needs the compiled operators: {obstacle}')
    model = cfg.model if part == 'classifier' else cfg.model.backbone
    key = f'{model}{size}'
    if key not in _flops:
        network = _build(cfg, model).eval()
        for layer in network.modules():
            if hasattr(layer, 'backend'):
                layer.backend = 'cpu'
        counter = FlopAnalyzer(network, torch.zeros(1, 3, *size))
        counter.set_op_handle(**OP_HANDLES).unsupported_ops_warnings(False)
        counter.uncalled_modules_warnings(False)
        _flops[key] = int(counter.total())
    return _flops[key]
