"""``tinyvim-mm export``, also ``tools/export.py``."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from .. import export
from ..export.formats import FORMATS, suffixes
from .options import add_cfg_options, add_trust_option
from .run import run_command

_DESCRIPTION = """\
Write the network of a config to a file that runs without OpenMMLab: ONNX of standard operators, a
torch.export program, or the format of another runtime by that runtime's converter. Classifiers,
segmentors and detectors are written end to end, from the normalized image, or with --preprocess
from the picture; or backbone and neck, or the backbone alone. Where its runtime runs, the file is
run and compared with PyTorch before the tool ends, and both latencies are printed."""


def build_parser(prog: str = 'tools/export.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog=prog, description=_DESCRIPTION)
    add = parser.add_argument
    add('config', help='path of a config, or its name: tinyvim_s_300e_in1k; or a model folder')
    add('--checkpoint', help='weights (default: random ones, for measurements)')
    add(
        '--out',
        type=Path,
        metavar='FILE',
        help=f'file to write: {suffixes()} (default: model.onnx, in a model folder)',
    )
    add('--format', choices=list(FORMATS), help='default: by the suffix of FILE')
    add(
        '--part',
        choices=['classifier', 'segmentor', 'detector', 'neck', 'backbone'],
        help='what to export (default: the whole model); neck: backbone and neck',
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
    add(
        '--batch',
        type=int,
        default=1,
        help='images at a time for the latency; .onnx, .pt2 and .xml take any other, too',
    )
    add(
        '--dynamic-size',
        action='store_true',
        help='let an .onnx file take any height and width; slower than a file for one size',
    )
    add(
        '--preprocess',
        action='store_true',
        help='of a detector: take pictures, RGB of 0 to 255, and resize, fill up and normalize '
        'them in the file',
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
    add(
        '--no-deploy',
        dest='deploy',
        action='store_false',
        help='keep the training form: no reparameterization',
    )
    add('--rounds', type=int, default=9, help='measurements of each latency; 0 measures none')
    add_cfg_options(parser, 'change settings of the config')
    add_trust_option(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/export.py') -> None:
    """Run the command.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.
        prog: How the user called it.

    Raises:
        SystemExit: With code 2 after an error that the user can cure, 1 if the file
            computes something else than PyTorch.
    """
    run_command(build_parser(prog), lambda: export.export, argv)
