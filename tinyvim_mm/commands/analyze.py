"""``tinyvim-mm analyze``, also ``tools/analyze.py``."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from .. import analysis
from .options import add_cfg_options, add_download_option
from .run import run_command

_DESCRIPTION = """\
Look inside a backbone while it sees pictures. Writes figures (.png), and the numbers behind them
with how they came about (.json), to a folder. Any config of the project serves, without a dataset.
"""

_ANALYSES = {
    'spectrum': 'frequencies before and after the mixers that scan, and in the two branches of '
    'Laplace mixers',
    'erf': 'effective receptive fields, of several networks side by side',
    'features': 'feature maps of the stages beside the picture',
    'activations': 'statistics of every layer; which come near the limits of fp16',
}


def build_parser(prog: str = 'tools/analyze.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog=prog, description=_DESCRIPTION)
    kinds = parser.add_subparsers(dest='analysis', required=True, metavar='ANALYSIS')
    for name, text in _ANALYSES.items():
        kind = kinds.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.')
        _add_options(kind)
        if name == 'erf':
            kind.add_argument(
                '--stage',
                type=int,
                default=-1,
                help='of which stage, from 1, or -1 for the last (default); of peers the '
                'output of the same size',
            )
            kind.add_argument(
                '--peers',
                nargs='+',
                default=[],
                metavar='NAME[=FILE]',
                help='networks of timm to draw beside, with random weights or those of a file',
            )
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('input', metavar='INPUT', type=Path, nargs='+', help='pictures, or folders of them')
    add(
        '--model',
        '--config',
        dest='models',
        nargs='+',
        default=[],
        metavar='CONFIG',
        help='names of configs (tinyvim_s_300e_in1k), or their paths; the backbone is looked at',
    )
    add(
        '--arch',
        dest='archs',
        nargs='+',
        default=[],
        metavar='NAME',
        help='bare backbones instead of, or beside, those of configs: tinyvim_s, mobilemamba_t2; '
        's, b and l are short for those of TinyViM',
    )
    add(
        '--checkpoint',
        dest='checkpoints',
        nargs='+',
        metavar='FILE',
        help='weights: for each network a file, also of a whole model, or random (default: all '
        'random, with batch statistics of the pictures)',
    )
    add(
        '--out',
        type=Path,
        default='work_dirs/analysis',
        help='folder (default: work_dirs/analysis)',
    )
    add(
        '--size',
        nargs=2,
        type=int,
        default=[512, 512],
        metavar=('H', 'W'),
        help='to which pictures are scaled and cropped (default: 512 512)',
    )
    add('--limit', type=int, default=8, metavar='N', help='pictures at most (default: 8)')
    add('--seed', type=int, default=0, help='of random weights (default: 0)')
    add('--device', help='cpu, cuda, cuda:1 ... (default: what is there)')
    add('--dpi', type=int, default=110, help='of the figures (default: 110)')
    add('--deploy', action='store_true', help='reparameterize the networks before they run')
    add_cfg_options(parser, 'change settings of the configs')
    add_download_option(parser)


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/analyze.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    run_command(build_parser(prog), lambda: analysis.analyze, argv)
