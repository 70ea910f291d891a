"""Own data in one command, from the folder to a model."""

import json
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Union

from ..core import compat
from ..core.devices import find_device
from ..core.errors import UsageError
from ..core.paths import CONFIG_ROOT, shown
from ..recipes.configs import find_config, load_config
from ..recipes.model_folder import weights_in, write_model
from ..toolboxes import toolbox_of
from ..weights.downloads import with_word
from .checks import IGNORED, check_data
from .conversion import write_annotations
from .dataset import SPLITS, TASKS, Data, Faults
from .layouts import read_data
from .plan import MODELS, Plan, make_plan
from .recipes import check_recipe, make_settings
from .splitting import split_data
from .starting import choose_start
from .writing import config_text


@with_word
def finetune(
    data: Union[str, Path],
    task: Optional[str] = None,
    model: Optional[str] = None,
    out: Union[str, Path, None] = None,
    *,
    weights: Optional[str] = None,
    classes: Union[str, Path, None] = None,
    ignore: Sequence[int] = (IGNORED,),
    epochs: Optional[int] = None,
    batch_size: Optional[int] = None,
    lr: Optional[float] = None,
    image_size: Optional[int] = None,
    device: Optional[str] = None,
    strict: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    trust_checkpoint: bool = False,
    allow_download: bool = False,
    command: Optional[str] = None,
) -> Path:
    """Read and check own data, write a config for them, train it, and keep the best model.

    Args:
        data: Folder with pictures and annotations, or a COCO JSON file.
        task: ``'detect'``, ``'segment'`` or ``'classify'``; ``None`` goes by the layout.
        model: Name or path of a config; ``None`` takes that of :data:`.plan.MODELS`.
        out: Folder for all that is written; ``None`` takes ``work_dirs/finetune/NAME``.
        weights: A backbone, or a whole model whose heads may have other classes; or the name of
            a trained model of this package.
        classes: File with the names of the classes, one a line.
        ignore: Values of label maps that are neither trained nor scored.
        epochs, batch_size, lr, image_size: Instead of what is chosen, see
            :func:`.plan.make_plan`.
        device: ``'cpu'``, ``'cuda'``, ``'cuda:1'``; ``None`` takes what is there.
        strict: Stop if anything in the data is wrong, instead of leaving it out.
        resume: Go on with an interrupted training in ``out``.
        dry_run: Stop when config and report on the data are written.
        trust_checkpoint: Let ``weights`` execute code.
        allow_download: Let checkpoints be fetched from ``http://`` and ``https://``.
        command: How the user called this, for messages.

    Returns:
        ``out``. It holds ``config.py``, ``data_report.txt``, ``data/``, ``train/``, and after the
        training ``model/``, ``result.json`` and pictures.

    Raises:
        UsageError: Something that the user can cure; the message says how.
        CheckpointError: The weights cannot be used.
        MissingPackageError: The toolbox of the task is missing.
    """
    if task not in (None, *TASKS):
        raise UsageError(f'--task {task}: known are {", ".join(TASKS)}')
    compat.apply()
    root = Path(data)
    out = Path(out or Path('work_dirs') / 'finetune' / root.resolve().stem)
    config = out / 'config.py'
    if resume and not config.is_file():
        raise UsageError(f'--resume: there is no {config}; leave it out, or name --out')
    if not resume and list((out / 'train').glob('*.pth')):
        raise UsageError(
            f'{out} holds a training already: go on with it (--resume), or name another --out'
        )
    device = _use_device(device)
    faults = Faults()
    found = read_data(root, task, Path(classes) if classes else None, faults)
    check_data(found, faults, tuple(ignore), strict)
    split_data(found, faults)
    name = find_config(model or MODELS[found.task])
    recipe = load_config(name)
    plan = make_plan(found, device, model, bool(weights), image_size, batch_size, epochs, lr)
    check_recipe(recipe, plan)
    report = _report(found, plan, faults)
    print(report, flush=True)
    if not resume:
        start = choose_start(recipe, weights_in(weights) or weights, trust_checkpoint)
        out.mkdir(parents=True, exist_ok=True)
        (out / 'data_report.txt').write_text(report + '\n', 'utf-8')
        write_annotations(found, out / 'data')
        settings = make_settings(found, plan, recipe, start)
        title = f'{name.stem} on {len(found.classes)} classes of own data.'
        config.write_text(config_text(title, _base(name), settings), 'utf-8')
        print(f'config: {shown(config)}; it trains with tools/train.py and the toolbox, too')
    if not dry_run:
        _train(found, config, out, resume, trust_checkpoint, command)
    return out


def _train(
    data: Data, config: Path, out: Path, resume: bool, trust: bool, command: Optional[str]
) -> None:
    import time

    from ..records.scalars import read_training
    from ..training import train
    from ..training.checkpoints import noted_checkpoint
    from ..visualization.curves import plot_training
    from .evaluation import evaluate_and_draw

    began = time.monotonic()
    start = 'auto' if resume else None
    train(config, out / 'train', resume=start, trust_checkpoint=trust, command=command)
    minutes = (time.monotonic() - began) / 60
    best = max((out / 'train').glob('best_*.pth'), key=lambda f: f.stat().st_mtime, default=None)
    if best is None:  # a detector that found nothing at all has no AP
        best = Path(noted_checkpoint(out / 'train'))
        print(f'no validation gave a score: too little was learned. The last, {best.name}, is kept')
    cfg = load_config(config)
    cfg.work_dir = str(out / 'train')
    part = 'test' if data.split('test') else 'val'
    label = f'pictures of {part}, which were not trained on'
    scores = evaluate_and_draw(cfg, best, out, data.task, data.classes, label)
    plot_training(
        read_training(out / 'train'), out / 'loss_curves.png', f'training on {data.root.name}'
    )
    folder = write_model(out / 'model', cfg, data.classes, best)
    result: Dict[str, Any] = dict(
        task=data.task,
        classes=data.classes,
        pictures={split: len(data.split(split)) for split in SPLITS},
        minutes_of_this_training=round(minutes, 2),
        evaluated_on=part,
        best_checkpoint=best.name,
        started_from='weights' if _has_weights(cfg) else 'random weights',
        scores=scores,
    )
    text = json.dumps(result, indent=1, default=float)
    (out / 'result.json').write_text(text + '\n', 'utf-8')
    print(f'{part}: {toolbox_of(cfg).score_line(scores)}; {minutes:.1f} minutes of training')
    print(f'model: {shown(folder)}\n  tinyvim-mm demo PICTURE --model {shown(folder)}')
    print(f'  tinyvim-mm export {shown(folder)}')


def _has_weights(cfg: Any) -> bool:
    return bool(cfg.get('load_from') or cfg.model.backbone.get('init_cfg'))


def _base(config: Path) -> str:
    """How a config elsewhere inherits from one of the project, or of the user."""
    try:
        return f'tinyvim_mm::{config.resolve().relative_to(CONFIG_ROOT.resolve()).as_posix()}'
    except ValueError:
        return str(config.resolve())


def _report(data: Data, plan: Plan, faults: Faults) -> str:
    counts = ', '.join(f'{len(data.split(s))} {s}' for s in SPLITS if data.split(s))
    lines = [f'{data.root}: {data.layout}, to {data.task}', f'pictures: {counts}']
    for label, name in enumerate(data.classes):
        objects = [p for p in data.pictures for c in p.classes() if c == label]
        boxes = sum(b.label == label for p in data.pictures for b in p.boxes)
        lines.append(f'  {name}: {len(objects)} pictures' + (f', {boxes} objects' if boxes else ''))
    lines += ['notes:', *(f'  {note}' for note in faults.notes)] if faults.notes else []
    wrong = faults.lines()
    lines += ['wrong:', *(f'  {line}' for line in wrong)] if wrong else ['nothing is wrong']
    lines.append(f'plan: {plan.model} on {plan.device}')
    for key in ('image_size', 'batch_size', 'epochs', 'lr'):
        lines.append(f'  {key} = {getattr(plan, key)} ({plan.why[key]})')
    return '\n'.join(lines)


def _use_device(name: Optional[str]) -> str:
    """Let mmengine's Runner train on a device, which no config of it can name."""
    import mmengine.device.utils
    import torch

    device = torch.device(find_device(name))
    mmengine.device.utils.DEVICE = device.type
    if device.type == 'cuda' and device.index is not None:
        torch.cuda.set_device(device)
    return device.type
