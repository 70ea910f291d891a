"""Options that several commands have."""

import argparse
import math


class CfgOptions(argparse.Action):
    """``--cfg-options key=value ...``, read as mmengine's ``DictAction`` reads it.

    mmengine is imported when the option occurs, so that ``--help`` works
    without it.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        for pair in values:
            if '=' not in pair:
                parser.error(f'{option_string}: {pair!r} is not of the form key=value')
        from mmengine.config import DictAction

        action = DictAction(self.option_strings, self.dest, nargs=self.nargs)
        try:
            action(parser, namespace, values, option_string)
        except (AssertionError, RecursionError) as error:  # of brackets
            parser.error(f'{option_string}: {error}')


def config_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Parser with the options that training and testing share."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument('config', help='path of a config, or its name: mask_rcnn_tinyvim_b_1x_coco')
    parser.add_argument(
        '--work-dir',
        help='folder for logs, checkpoints and pictures '
        '(default: work_dirs/CONFIG, with --sample work_dirs/CONFIG_sample)',
    )
    add_cfg_options(
        parser,
        'change settings of the config: optim_wrapper.optimizer.lr=1e-4 key="[a,b]" '
        'key="[(a,b),(c,d)]", without white space inside a value; they win over --sample',
    )
    parser.add_argument(
        '--sample',
        action='store_true',
        help='run the same config on the photographs shipped with the project, with a '
        'schedule that a laptop can finish',
    )
    parser.add_argument(
        '--data-root', metavar='DIR', help="folder that stands for `data/` in the config's paths"
    )
    add_trust_option(parser)
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher of distributed runs; see tools/dist_*.sh and tools/slurm_*.sh',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def add_cfg_options(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--cfg-options``. Its values reach typed functions as a dict of dotted keys."""
    parser.add_argument(
        '--cfg-options',
        dest='options',
        nargs='+',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help=text,
    )
    parser.add_argument(
        '--allow-new-keys',
        action='store_true',
        help='let --cfg-options set keys that nothing here reads, for code of your own; without '
        'it they are taken for misspelled',
    )


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint`` and ``--allow-download``."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that hold more than tensors and plain values. They are Python '
        'pickles, which can run any code: only for files whose origin you trust',
    )
    add_download_option(parser)


def add_download_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-download``."""
    parser.add_argument(
        '--allow-download',
        action='store_true',
        help='fetch checkpoints that config or command name by http:// or https:// addresses; '
        'ADDRESS#sha256=HEX takes that file only',
    )


def number(text: str) -> float:
    """A finite number.

    Raises:
        argparse.ArgumentTypeError: It is infinite, or none.
    """
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f'{text} is not a finite number')
    return value


def count(text: str) -> int:
    """An integer of at least 1.

    Raises:
        argparse.ArgumentTypeError: It is smaller.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is less than 1')
    return value
