"""What the forms in which a trained network is deployed score, and how long they take."""

import json
import math
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional

import torch
from mmengine.config import Config

from ..core import tables
from ..core.errors import UsageError
from ..core.paths import shown, write_whole
from ..export import export, networks
from ..export.check import load_runner
from ..export.quantization import write_int8
from ..export.runtime import Runner
from ..inference import evaluate_exported
from ..measuring.timing import provenance, time_in_turns
from ..models.reparameterization import reparameterize
from ..recipes.building import building
from ..recipes.configs import find_config, load_config
from ..training import evaluate
from .rows import ROWS, TABLES

#: What stands for PyTorch's forms; the first is what the others are compared with.
EAGER, HALF = 'PyTorch, fp32', 'PyTorch, bf16'
#: Pictures of training from which static ranges are taken.
_CALIBRATION = 128
_PICTURES = ('.jpg', '.jpeg', '.png')


@dataclass(frozen=True)
class Form:
    """One form: what it scores, in percent, milliseconds of one image, and its size in bytes."""

    name: str
    figure: float
    milliseconds: float
    spread: float
    size: int


def measure_deployed(
    row: str,
    checkpoint: Path,
    work_dir: Path,
    file: Path,
    data_root: str,
    rounds: int,
    command: Optional[str] = None,
) -> None:
    """Export a trained row, score each form on the data of the row, and time them in turns.

    Args:
        row: Its name.
        checkpoint: Its weights.
        work_dir: Folder for the exported files and the logs.
        file: JSON to write.
        data_root: Folder with the data.
        rounds: Turns of each form.
        command: How the user called this, for the results.

    Raises:
        UsageError: Networks of this table cannot be exported as a whole.
    """
    table = TABLES[ROWS[row].table]
    if table.input_size is None:
        raise UsageError(f'{row}: its networks are not exported as a whole, so not scored')
    config = find_config(ROWS[row].config)
    paths = _export(config, checkpoint, work_dir, table.input_size, data_root)
    settings: Dict[str, Any] = dict(data_root=data_root, command=command)
    found: Dict[str, Mapping[str, Any]] = {
        EAGER: evaluate(config, checkpoint, work_dir / 'log', deploy=True, **settings) or {},
        HALF: evaluate(
            config,
            checkpoint,
            work_dir / 'log',
            deploy=True,
            options={'test_cfg.fp16': True},
            **settings,
        )
        or {},
    }
    for name, path in paths.items():
        found[name] = evaluate_exported(config, path, work_dir / 'log', **settings)
    calls = _calls(load_config(config), str(config), checkpoint, paths, table.input_size)
    timings = time_in_turns(calls, torch.device('cpu'), rounds)
    forms = [
        Form(
            name,
            float(scores[table.score]) * table.scale,
            1e3 * timings[name].median,
            1e3 * timings[name].spread,
            paths[name].stat().st_size if name in paths else 0,
        )
        for name, scores in found.items()
    ]
    content = dict(
        row=row,
        split=table.split,
        input_size=table.input_size,
        provenance=provenance(torch.device('cpu'), command),
        forms=[vars(form) for form in forms],
    )
    write_whole(file, (json.dumps(content, indent=1) + '\n').encode())
    print(f'Written: {shown(file)}')


def render_deployed(file: Path) -> str:
    """The table of such a file, in Markdown."""
    content = json.loads(file.read_text(encoding='utf-8'))
    forms = [Form(**form) for form in content['forms']]
    first = forms[0]
    metric = TABLES[ROWS[content['row']].table].metric
    size = ' x '.join(map(str, content['input_size']))
    head = [f'`{content["row"]}`', metric, 'change', f'ms, batch 1, {size}', 'MB']
    rows = [
        [
            form.name,
            f'{form.figure:.2f}',
            f'{form.figure - first.figure:+.2f}',
            f'{form.milliseconds:.1f} ± {form.spread:.1f} '
            f'({first.milliseconds / form.milliseconds:.2f}x)',
            f'{form.size / 1e6:.1f}' if form.size else '',
        ]
        for form in forms
    ]
    facts = ', '.join(f'{name} {value}' for name, value in content['provenance'].items())
    return '\n'.join([*tables.markdown(head, rows), '', f'- {facts}'])


def _export(
    config: Path, checkpoint: Path, folder: Path, size: List[int], data_root: str
) -> Dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _calibration(load_config(config), folder / 'calibration', data_root)
    whole, static = folder / 'network.onnx', folder / 'network.static.onnx'
    export(
        config,
        whole,
        int8='dynamic',
        checkpoint=checkpoint,
        output='logits',
        input_size=size,
        rounds=0,
    )
    write_int8(whole, static, sorted(pictures.iterdir()), Runner(whole).metadata)
    return {
        'ONNX Runtime, fp32': whole,
        'ONNX Runtime, int8, dynamic': whole.with_suffix('.int8.onnx'),
        'ONNX Runtime, int8, static': static,
    }


def _calibration(cfg: Config, folder: Path, data_root: str) -> Path:
    """A folder with some of the pictures that were trained on, evenly chosen."""
    dataset = cfg.train_dataloader.dataset
    root = Path(data_root) / Path(dataset.data_root).name
    inside = dataset.get('split') or dataset.get('data_prefix', {}).get('img_path', '')
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = sorted(p for p in (root / inside).rglob('*') if p.suffix.lower() in _PICTURES)
    step = max(1, math.ceil(len(found) / _CALIBRATION))
    for number, picture in enumerate(found[::step]):
        shutil.copyfile(picture, folder / f'{number:03}{picture.suffix}')
    return folder


def _calls(
    cfg: Config, name: str, checkpoint: Path, paths: Mapping[str, Path], size: List[int]
) -> Dict[str, Callable[[], Any]]:
    part = networks.PARTS[cfg.default_scope][0]
    with building(cfg, name):
        trained, _ = networks.build(cfg, part, 'logits', str(checkpoint))
    network = networks.ExportedNetwork(reparameterize(trained.model), part, 'logits').eval()
    images = networks.random_images(1, tuple(size))

    def eager() -> None:
        with torch.inference_mode():
            network(images)

    def half() -> None:
        with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
            network(images)

    calls: Dict[str, Callable[[], Any]] = {EAGER: eager, HALF: half}
    inputs = images.numpy()
    calls.update({form: partial(load_runner(path), inputs) for form, path in paths.items()})
    return calls
