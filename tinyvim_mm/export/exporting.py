"""Export of a config's network: check the options, write, compare with PyTorch, measure."""

from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch

from ..core.compat import apply as apply_compat
from ..core.errors import ExportMismatchError, UsageError
from ..measuring.timing import time_in_turns
from ..models import reparameterize
from ..recipes.building import building
from ..recipes.configs import find_config, load_config, merge_options
from ..recipes.model_folder import name_of, trained_models, weights_in
from ..recipes.starting_weights import existing_checkpoint
from ..weights.downloads import with_word
from ..weights.files import install_safe_loader
from . import description, networks, quantization
from .check import Run, compare, network_runner
from .detectors import check as detector_check
from .formats import format_of, suffixes
from .formats.base import Format
from .metadata import Metadata

_PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')


@with_word
def export(
    config: Union[str, Path],
    out: Union[str, Path, None] = None,
    *,
    checkpoint: Union[str, Path, None] = None,
    format: Optional[str] = None,
    part: Optional[str] = None,
    output: Optional[str] = None,
    input_size: Optional[Sequence[int]] = None,
    batch: int = 1,
    dynamic_size: bool = False,
    preprocess: bool = False,
    opset: Optional[int] = None,
    int8: Optional[str] = None,
    calibration: Union[str, Path, None] = None,
    deploy: bool = True,
    rounds: int = 9,
    options: Optional[Mapping[str, Any]] = None,
    allow_new_keys: bool = False,
    trust_checkpoint: bool = False,
    allow_download: bool = False,
) -> Path:
    """Write the network of a config to a file, compare it with PyTorch, and measure both.

    Args:
        config: Path of a config, name of one of the project's, or a model folder.
        out: File to write; ``None`` takes ``model.onnx`` in a model folder.
        checkpoint: File with the weights; ``None`` leaves them random, for measurements.
        format: A key of :data:`.formats.FORMATS`; ``None`` goes by the suffix of ``out``.
        part: ``'classifier'``, ``'segmentor'``, ``'detector'``, ``'neck'`` (backbone and neck)
            or ``'backbone'``; ``None`` takes the whole model.
        output: ``'logits'``, ``'probabilities'`` or ``'labels'``; ``None`` takes logits of a
            classifier, labels of a segmentor.
        input_size: Height and width in pixels; ``None`` takes the usual one of the task.
        batch: Images at a time for the latency; a file of some formats takes no other batch.
        dynamic_size: Let an ONNX file take any height and width.
        preprocess: Let the file of a detector take pictures, RGB of 0 to 255: it resizes, fills
            up and normalizes them itself.
        opset: Version of the ONNX operators; ``None`` takes :data:`.writer.OPSET`.
        int8: ``'dynamic'`` or ``'static'`` writes an 8-bit ONNX file, too.
        calibration: Folder of pictures from which static ranges are taken.
        deploy: Reparameterize the network.
        rounds: Measurements of each latency; 0 measures none.
        options: Settings of the config to change: dotted keys to values.
        allow_new_keys: Let ``options`` set keys that nothing here reads.
        trust_checkpoint: Let the checkpoint execute code.
        allow_download: Let checkpoints be fetched from ``http://`` and ``https://``.

    Returns:
        ``out``.

    Raises:
        UsageError: Something that the user can cure; the message says how.
        CheckpointError: The checkpoint cannot be used.
        ExportMismatchError: The file computes something else than PyTorch.
        MissingPackageError: A package that the format needs is missing.

    Example:
        >>> from tinyvim_mm.export import export
        >>> export('tinyvim_s_300e_in1k', 'tinyvim_s.onnx', rounds=0)  # doctest: +SKIP
        PosixPath('tinyvim_s.onnx')
    """
    checkpoint = checkpoint or weights_in(config)
    if out is None:
        if weights_in(config) is None or str(config) in trained_models():
            raise UsageError(f'--out FILE is wanted: the file to write, {suffixes()}')
        out = Path(str(weights_in(config))).with_name('model.onnx')
    out = Path(out)
    form = _check_file(out, format, dynamic_size, int8)
    pictures = _check_calibration(int8, calibration)
    if batch < 1 or rounds < 0:
        raise UsageError('--batch must be at least 1 and --rounds at least 0')
    smallest = 64 if dynamic_size else 32
    if input_size and min(input_size) < smallest:
        got = ' '.join(map(str, input_size))
        raise UsageError(f'--input-size must be at least {smallest} {smallest}, got {got}')

    apply_compat()
    install_safe_loader(trust=trust_checkpoint)
    if checkpoint:
        checkpoint = existing_checkpoint(str(checkpoint), '--checkpoint')
    path = find_config(str(config))
    cfg = load_config(path)
    merge_options(cfg, options, str(config), allow_new_keys)
    part, output = _choose(part, output, cfg.default_scope)

    if part == 'detector':
        _check_detector(form, int8)
    elif preprocess:
        raise UsageError(f'--preprocess goes with --part detector; the file of a {part} is none')

    with building(cfg, str(config)):
        model, classes = networks.build_model(cfg, part, checkpoint, trust_checkpoint)
        usual = cfg.get('export_size') or networks.input_size(cfg.default_scope, model)
        if part == 'detector' and not cfg.get('export_size'):
            usual = description.tested_size(cfg) or usual
    size = tuple(input_size or usual)
    if checkpoint is None:
        print('No --checkpoint: the weights are random, the file is good for measurements only.')
    meta = description.describe(
        cfg,
        name_of(path),
        part,
        output,
        model,
        input_size=size,
        dynamic_size=dynamic_size,
        preprocess=preprocess,
        classes=classes,
        checkpoint=checkpoint,
    )
    make = partial(
        networks.make_network,
        part=part,
        output=output,
        dynamic_size=dynamic_size,
        fit=description.fit_of(meta) if preprocess else None,
    )
    trained = make(model)
    network = make(reparameterize(model)) if deploy else trained

    # Two images: an exporter may take a batch of one for a constant.
    example = network.example(2 if form.any_batch else batch, size)
    form.write(network, example if part == 'detector' else example[0], out, meta, opset)
    weight = sum(file.stat().st_size for file in form.files(out)) / 2**20
    print(f'Written: {out} ({weight:.1f} MiB), {part}, {output}')
    if Metadata.from_props(form.properties(out), str(out)) != meta:
        raise ExportMismatchError(f'{out} does not give back the metadata that were written to it')
    for line in form.inspect(out):
        print(line)
    if obstacle := form.obstacle():
        print(f'Not run and not compared with PyTorch: {obstacle}')
        return out

    run = form.load(out, torch.get_num_threads())
    truths = {'PyTorch': network}
    if trained is not network:
        truths['the training form'] = trained
    if part == 'detector':
        detector_check.compare(out, truths, meta, batch)
    else:
        compare(run, truths, meta, batch, form.any_batch)
    runs = {'PyTorch eager': network_runner(network), out.name: run}
    if int8:
        target = out.with_suffix('.int8.onnx')
        runs[target.name] = quantization.write_int8(out, target, pictures, meta)
    if rounds:
        _measure(runs, network.example(batch, size), rounds)
    return out


def _check_detector(form: Format, int8: Any) -> None:
    if form.name != 'onnx':
        raise UsageError(
            f'whole detectors are written to .onnx; for a {form.suffix} take --part neck'
        )
    if int8:
        raise UsageError('--int8 is for classifiers, segmentors and features; take --part neck')


def _check_file(out: Path, name: Optional[str], dynamic_size: bool, int8: Any) -> Format:
    """Find what would stop the work before it starts; the format."""
    form = format_of(out, name)
    if not out.parent.is_dir():
        raise UsageError(f'the folder {out.parent} of --out does not exist; make it')
    if int8 and form.name != 'onnx':
        raise UsageError('--int8 quantizes ONNX files; choose an --out that ends in .onnx')
    if dynamic_size and form.one_size:
        raise UsageError(
            f'a {form.suffix} has one height and width: {form.one_size}. Leave out --dynamic-size '
            'and export one file for each --input-size, or export to .onnx'
        )
    form.require()
    return form


def _check_calibration(int8: Optional[str], folder: Union[str, Path, None]) -> List[Path]:
    """The pictures of the folder."""
    if (int8 == 'static') != (folder is not None):
        raise UsageError(
            '--int8 static takes its ranges from pictures: give --calibration FOLDER with it, '
            'and only with it'
        )
    if folder is None:
        return []
    pictures = sorted(p for p in Path(folder).rglob('*') if p.suffix.lower() in _PICTURES)
    if not pictures:
        kinds = ', '.join(_PICTURES)
        raise UsageError(f'--calibration: no pictures ({kinds}) in the folder {folder}')
    return pictures


def _choose(part: Optional[str], output: Optional[str], scope: str) -> Tuple[str, str]:
    parts = networks.PARTS[scope]
    part = part or parts[0]
    if part not in parts:
        known = ', '.join(parts)
        raise UsageError(f'--part {part}: of a config of {scope} can be exported: {known}')
    outputs = networks.OUTPUTS[part]
    output = output or outputs[0]
    if output not in outputs:
        raise UsageError(f'--output {output}: the {part} can give: {", ".join(outputs)}')
    return part, output


def _measure(runs: Dict[str, Run], example: Sequence[torch.Tensor], rounds: int) -> None:
    inputs = [tensor.numpy() for tensor in example]
    contenders = {name: lambda run=run: run(*inputs) for name, run in runs.items()}
    timings = time_in_turns(contenders, torch.device('cpu'), rounds)
    shape = ' x '.join(map(str, inputs[0].shape))
    print(f'Latency for {shape}, {torch.get_num_threads()} threads, median of {rounds}:')
    first = next(iter(timings.values())).median
    for name, timing in timings.items():
        print(f'  {name:<28} {timing.median * 1e3:8.1f} ms   {first / timing.median:5.2f}x')
