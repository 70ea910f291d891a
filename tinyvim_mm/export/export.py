"""Export: what stands behind ``tools/export.py``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence

from ..commands.options import add_cfg_options, add_trust_option
from ..commands.run import run_command
from ..core.environment import require
from ..core.errors import UsageError
from ..recipes.configs import find_config, load_config, merge_options
from ..recipes.starting_weights import existing_checkpoint

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .check import Run
    from .metadata import Metadata
    from .networks import ExportedNetwork

_DESCRIPTION = """\
Write the network of a config to a file that runs without OpenMMLab: ONNX of standard operators, or
a torch.export program. Classifiers and segmentors are written end to end, from the normalised
image; of detectors backbone and neck, or the backbone alone. The file is run and compared with
PyTorch on two batch sizes before the tool ends; both latencies are printed."""

SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2'}
_PICTURES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')


def build_parser() -> argparse.ArgumentParser:
    """Options of ``tools/export.py``."""
    parser = argparse.ArgumentParser(prog='tools/export.py', description=_DESCRIPTION)
    add = parser.add_argument
    add('config', help='path of a config, or its name: tinyvim_s_300e_in1k')
    add('--checkpoint', help='weights (default: random ones, for measurements)')
    add('--out', required=True, type=Path, metavar='FILE', help='file to write: .onnx or .pt2')
    add('--format', choices=list(SUFFIXES), help='default: by the name of FILE')
    add(
        '--part',
        choices=['classifier', 'segmentor', 'neck', 'backbone'],
        help='what to export (default: the classifier or segmentor; of a detector backbone and '
        'neck)',
    )
    add(
        '--output',
        choices=['logits', 'probabilities', 'labels'],
        help='of a classifier (default: logits) or segmentor (default: labels)',
    )
    add(
        '--input-size',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='height and width (default: those of the architecture for mmpretrain, 512 512 for '
        'mmseg, 800 1344 for mmdet)',
    )
    add('--batch', type=int, default=1, help='images at a time for the latency; any batch runs')
    add(
        '--dynamic-size',
        action='store_true',
        help='let an .onnx file take any height and width; slower than a file for one size',
    )
    add('--opset', type=int, help='version of the ONNX operators (default: 17)')
    add(
        '--int8',
        choices=['dynamic', 'static'],
        help='write FILE.int8.onnx too and report its error',
    )
    add(
        '--calibration',
        type=Path,
        metavar='FOLDER',
        help='pictures from which --int8 static takes the ranges',
    )
    add('--no-deploy', action='store_true', help='keep the training form: no re-parameterisation')
    add('--rounds', type=int, default=9, help='measurements of each latency; 0 measures none')
    add_cfg_options(parser, 'change settings of the config')
    add_trust_option(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/export.py``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: With code 2 after an error in the command or the files, 1 if
            the file computes something else than PyTorch.
    """
    run_command(build_parser(), export, argv)


def export(args: argparse.Namespace) -> None:
    """Export, check and measure.

    Args:
        args: Parsed by :func:`build_parser`.

    Raises:
        UsageError: Something about the options is wrong; the message says what.
        CheckpointError: The checkpoint cannot be used.
        SystemExit: With code 1 if the file computes something else than PyTorch.
    """
    file_format = _check_options(args)
    from ..core.compat import apply as apply_compat
    from ..models.reparameterization import reparameterize
    from ..weights.files import install_safe_loader
    from . import networks, writer

    apply_compat()
    install_safe_loader(trust=args.trust_checkpoint)
    if args.checkpoint:
        args.checkpoint = existing_checkpoint(args.checkpoint, '--checkpoint')
    path = find_config(args.config)
    cfg = load_config(path)
    merge_options(cfg, args.cfg_options, args.config)
    part, output = _choose(args, cfg.default_scope)
    trained, classes = networks.build(cfg, part, output, args.checkpoint, args.trust_checkpoint)
    size = tuple(args.input_size or networks.input_size(cfg.default_scope, trained.model))
    if args.checkpoint is None:
        print('No --checkpoint: the weights are random, the file is good for measurements only.')
    network = trained
    if not args.no_deploy:
        network = networks.ExportedNetwork(reparameterize(trained.model), part, output).eval()
    meta = networks.describe(cfg, path.stem, network, size, args.dynamic_size, classes, _name(args))

    # Two images: an exporter may take a batch of one for a constant.
    example = networks.random_images(2, size)
    if file_format == 'onnx':
        writer.write_onnx(network, example, args.out, args.dynamic_size, args.opset or writer.OPSET)
        writer.add_metadata(args.out, meta.to_props())
        if writer.custom_operators(args.out):
            print(f'Operators beside ONNX: {", ".join(writer.custom_operators(args.out))}')
    else:
        writer.write_program(network, example, args.out)
    print(f'Written: {args.out} ({args.out.stat().st_size / 2**20:.1f} MiB), {part}, {output}')

    run = load_runner(args.out)
    _check(run, trained, network, meta, args.batch)
    runs = {'PyTorch eager': _network_run(network), args.out.name: run}
    if args.int8:
        runs[f'{args.out.stem}.int8.onnx'] = _quantize(args, network, run, meta)
    if args.rounds:
        _measure(runs, networks.random_images(args.batch, size), args.rounds)


def load_runner(path: Path) -> 'Run':
    """Load an exported file as a function on arrays, with as many threads as torch has.

    Args:
        path: A ``.onnx`` or ``.pt2`` file.
    """
    import torch

    if path.suffix == SUFFIXES['onnx']:
        from .runtime import make_session

        session = make_session(path, torch.get_num_threads())
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images})
    module = torch.export.load(path).module()

    def run(images: 'np.ndarray') -> List['np.ndarray']:
        with torch.no_grad():
            return [output.numpy() for output in module(torch.from_numpy(images))]

    return run


def _check_options(args: argparse.Namespace) -> str:
    """Find what would stop the work before it starts; the format."""
    formats = {suffix: name for name, suffix in SUFFIXES.items()}
    file_format = args.format or formats.get(args.out.suffix)
    if file_format is None or args.out.suffix != SUFFIXES[file_format]:
        wanted = SUFFIXES[args.format] if args.format else ' or '.join(formats)
        raise UsageError(f'--out {args.out} must end in {wanted}')
    if not args.out.parent.is_dir():
        raise UsageError(f'the folder {args.out.parent} of --out does not exist; make it')
    if file_format == 'onnx':
        require('onnx', 'onnxruntime', purpose='tools/export.py')
    elif args.int8:
        raise UsageError('--int8 quantises ONNX files; choose an --out that ends in .onnx')
    if (args.int8 == 'static') != (args.calibration is not None):
        raise UsageError(
            '--int8 static takes its ranges from pictures: give --calibration FOLDER with it, '
            'and only with it'
        )
    if args.calibration is not None and not _pictures(args.calibration):
        raise UsageError(
            f'--calibration: no pictures ({", ".join(_PICTURES)}) in the folder {args.calibration}'
        )
    if args.batch < 1 or args.rounds < 0:
        raise UsageError('--batch must be at least 1 and --rounds at least 0')
    smallest = 64 if args.dynamic_size else 32
    if args.input_size and min(args.input_size) < smallest:
        raise UsageError(
            f'--input-size must be at least {smallest} {smallest}, got '
            f'{" ".join(map(str, args.input_size))}'
        )
    if args.dynamic_size and file_format == 'torch-export':
        raise UsageError(
            'a .pt2 has one height and width: torch.export specialises the scan to it. Leave out '
            '--dynamic-size and export one file for each --input-size, or export to .onnx'
        )
    return file_format


def _choose(args: argparse.Namespace, scope: str) -> Sequence[str]:
    from .networks import OUTPUTS, PARTS

    part = args.part or PARTS[scope][0]
    if part not in PARTS[scope]:
        raise UsageError(
            f'--part {part}: of a config of {scope} can be exported: {", ".join(PARTS[scope])}'
        )
    output = args.output or OUTPUTS[part][0]
    if output not in OUTPUTS[part]:
        raise UsageError(f'--output {output}: the {part} can give: {", ".join(OUTPUTS[part])}')
    return part, output


def _name(args: argparse.Namespace) -> Optional[str]:
    return Path(args.checkpoint).name if args.checkpoint else None


def _network_run(network: 'ExportedNetwork') -> 'Run':
    from .check import network_runner

    return network_runner(network)


def _check(
    run: 'Run',
    trained: 'ExportedNetwork',
    network: 'ExportedNetwork',
    meta: 'Metadata',
    batch: int,
) -> None:
    """Compare with PyTorch on two batch sizes, and two image sizes where the file takes them.

    Raises:
        SystemExit: The error is above the tolerance.
    """
    from .check import TOLERANCE, ExportMismatchError, error_of
    from .networks import random_images

    height, width = meta.input_size
    # The second is no multiple of anything the network divides by.
    sizes = [(height, width), (height + 13, width + 7)] if meta.dynamic_size else [(height, width)]
    truths = {'PyTorch': network}
    if trained is not network:
        truths['the training form'] = trained
    worst = 0.0
    for size in sizes:
        for images in (batch, batch + 2):
            inputs = random_images(images, size, seed=images)
            for truth, module in truths.items():
                try:
                    error = error_of(module, run, inputs)
                except ExportMismatchError as mismatch:
                    raise SystemExit(f'tools/export.py: the file is wrong: {mismatch}') from None
                worst = max(worst, error)
                print(
                    f'  {images} x {size[0]} x {size[1]}: relative error against {truth} '
                    f'{error:.1e}'
                )
    if not worst <= TOLERANCE:
        raise SystemExit(
            f'tools/export.py: the file deviates from PyTorch by {worst:.1e}, more than '
            f'{TOLERANCE:.0e}; do not use it. Try another --opset, or leave out --dynamic-size'
        )


def _quantize(
    args: argparse.Namespace, network: 'ExportedNetwork', run: 'Run', meta: 'Metadata'
) -> 'Run':
    import numpy as np

    from . import check, writer
    from .networks import random_images
    from .runtime import Runner

    target = args.out.with_suffix('.int8.onnx')
    pictures = []
    if args.calibration is not None:
        runner = Runner(args.out)
        pictures = [runner.preprocess(path) for path in _pictures(args.calibration)]
    writer.quantize(args.out, target, pictures if args.int8 == 'static' else None)
    writer.add_metadata(target, meta.to_props())
    int8 = load_runner(target)
    inputs = pictures or [random_images(4, meta.input_size).numpy()]
    what = f'{len(pictures)} pictures' if pictures else '4 random images'
    pairs = [(int8(images), run(images)) for images in inputs]
    line = f'Written: {target} ({target.stat().st_size / 2**20:.1f} MiB); on {what}'
    if network.output != 'labels':
        errors = [
            np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)
            for actual, expected in pairs
            for a, b in zip(actual, expected, strict=True)
        ]
        line += f' relative error {np.mean(errors):.1e} on average, {max(errors):.1e} at most'
    if network.output != 'features':
        same = np.mean([check.agreement(network.output, a[0], b[0]) for a, b in pairs])
        line += f', {100 * same:.1f} % of the top-1 labels agree'
    print(line)
    return int8


def _measure(runs: Dict[str, 'Run'], images: 'Tensor', rounds: int) -> None:
    import torch

    from ..measuring.timing import time_in_turns

    inputs = images.numpy()
    contenders = {name: lambda run=run: run(inputs) for name, run in runs.items()}
    timings = time_in_turns(contenders, torch.device('cpu'), rounds)
    shape = ' x '.join(map(str, images.shape))
    print(f'Latency for {shape}, {torch.get_num_threads()} threads, median of {rounds}:')
    first = next(iter(timings.values())).median
    for name, timing in timings.items():
        print(f'  {name:<28} {timing.median * 1e3:8.1f} ms   {first / timing.median:5.2f}x')


def _pictures(folder: Path) -> List[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.rglob('*') if p.suffix.lower() in _PICTURES)
