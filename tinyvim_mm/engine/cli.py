"""What ``tools/train.py`` and ``tools/test.py`` have in common."""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Tuple, Type

from .. import environment
from ..version import __version__
from .configs import find_config, load_config
from .distributed import prepare_launcher
from .errors import MachineError, UsageError

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner


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
        action(parser, namespace, values, option_string)


def make_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Parser with the options that both tools know."""
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
    """Add ``--cfg-options``, to be applied with :func:`merge_cfg_options`."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE', help=text
    )


def merge_cfg_options(cfg: 'Config', args: argparse.Namespace, name: str) -> None:
    """Apply ``--cfg-options`` to the config that the user called ``name``.

    Raises:
        UsageError: They do not fit it.
    """
    if args.cfg_options:
        try:
            cfg.merge_from_dict(args.cfg_options)
        except (KeyError, TypeError, IndexError) as error:
            raise UsageError(f'--cfg-options do not fit {name}: {error}') from error


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that hold more than tensors and plain values. They are Python '
        'pickles, which can run any code: only for files whose origin you trust',
    )


def run_tool(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], Any],
    argv: Optional[Sequence[str]],
) -> None:
    """Parse the command line and run, with errors that a user can read.

    Args:
        parser: Parser of the tool.
        run: Does the work, given the parsed arguments.
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: With code 2 after an error that the user can cure; its
            message went to standard error.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    _let_waiting_threads_sleep()
    curable: Tuple[Type[Exception], ...] = (UsageError, environment.MissingPackageError)
    try:
        if not {'-h', '--help'}.intersection(argv):
            environment.require('torch', 'mmengine', purpose=parser.prog)
            from ..checkpoint import CheckpointError

            curable += (CheckpointError,)
        args = parser.parse_args(argv)
        args.command = f'python {parser.prog} {shlex.join(argv)}'
        # Tools that run in one process have no such option.
        os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
        run(args)
    except curable as error:
        print(f'{parser.prog}: error: {error}', file=sys.stderr)
        raise SystemExit(2) from error


def _let_waiting_threads_sleep() -> None:
    # OpenMP threads spin for milliseconds at each barrier. On a machine whose
    # cores are all wanted by something else that multiplies the time of a step
    # (measured on 2 cores: from 3 to over 15 seconds), while spinning briefly
    # costs a few percent where nothing else runs. Has to precede torch.
    if 'OMP_WAIT_POLICY' not in os.environ:
        os.environ.setdefault('GOMP_SPINCOUNT', '1000')


def prepare_config(args: argparse.Namespace) -> 'Config':
    """Load the config that the command line names and apply the common options.

    The order is: the config, then ``--sample``, then ``--cfg-options``, so
    that what the user writes wins.

    Raises:
        UsageError: No such config, ``--sample`` impossible, option impossible,
            launcher impossible on this machine.
        MissingPackageError: A package that the config needs is missing.
    """
    from ..checkpoint import install_safe_loader
    from ..compat import apply as apply_compat

    apply_compat()
    install_safe_loader(trust=args.trust_checkpoint)
    path = find_config(args.config)
    cfg = load_config(path)
    if args.sample:
        from .sample import apply_sample

        apply_sample(cfg, path)
    if args.data_root:
        move_data(cfg, args.data_root)
    merge_cfg_options(cfg, args, args.config)
    prepare_launcher(cfg, args.launcher)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(path, args.sample)
    return cfg


def move_data(cfg: 'Config', root: str) -> None:
    """Let another folder stand for ``data/``, with which the paths of the recipes begin.

    Raises:
        UsageError: The folder does not exist.
    """
    if not Path(root).is_dir():
        raise UsageError(f'--data-root: there is no folder {root}')

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(moved(item) for item in value)
        if isinstance(value, str) and value.startswith('data/'):
            return str(Path(root) / value[len('data/') :]) + ('/' if value.endswith('/') else '')
        return value

    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for key in (*loaders, 'val_evaluator', 'test_evaluator'):
        if key in cfg:
            cfg[key] = moved(cfg[key])


def log_packages(runner: 'Runner') -> None:
    """Say in one line which versions the run uses; :mod:`.training_log` reads it."""
    toolbox = runner.cfg.get('default_scope')
    names = [name for name in ('torch', 'mmengine', 'mmcv', toolbox) if name]
    states = [environment.package_state(name) for name in names]
    versions = [f'tinyvim_mm {__version__}', *(f'{s.name} {s.version}' for s in states)]
    runner.logger.info(f'packages: {", ".join(versions)}')


def log_scan_backend(runner: 'Runner') -> None:
    """Say in one line which implementation of the scan the run uses."""
    from ..models.layers import SS2D
    from ..ops import describe_choice

    layers = [module for module in runner.model.modules() if isinstance(module, SS2D)]
    choices = {describe_choice(layer.Ds, layer.backend) for layer in layers}
    for choice in sorted(choices):
        runner.logger.info(f'scan backend: {choice}')


def default_work_dir(config: Path, sample: bool) -> str:
    """``work_dirs/CONFIG``; a sample run gets a folder of its own."""
    return str(Path('work_dirs') / (config.stem + ('_sample' if sample else '')))


def check_amp() -> None:
    """Raise if mixed precision is asked for where mmengine refuses it."""
    if environment.accelerator() is None:
        raise MachineError(
            '--amp (mixed precision) needs an accelerator '
            f'({", ".join(environment.ACCELERATORS)}), and this machine has none that torch can '
            'see; run without --amp'
        )


def existing_checkpoint(path: str, option: str) -> str:
    """Check the file of a checkpoint before anything slow starts.

    Args:
        path: A file, or an address with a scheme, which is left to mmengine.
        option: What the user wrote it for; begins the message.

    Raises:
        UsageError: The file does not exist; the message lists what lies
            beside it.
    """
    if '://' in path or Path(path).is_file():
        return path
    folder = Path(path).parent
    beside = sorted(p.name for p in folder.glob('*.pth')) if folder.is_dir() else []
    if beside:
        hint = f'{folder} holds: {", ".join(beside[:8])}'
    elif folder.is_dir():
        hint = f'the folder {folder} holds no .pth file'
    else:
        hint = f'the folder {folder} does not exist either'
    raise UsageError(f'{option}: there is no file {path} (seen from {Path.cwd()}); {hint}')
