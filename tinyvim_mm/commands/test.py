"""``tinyvim-mm test``, also ``tools/test.py``."""

import argparse
from typing import Any, Optional, Sequence

from .. import training
from ..core.errors import UsageError
from .options import config_parser, number
from .run import run_command

#: Options that change how a checkpoint is read, or the model; their defaults.
_OF_CHECKPOINTS = {
    'sample': False,
    'deploy': False,
    'on_bad_sample': 'stop',
    'trust_checkpoint': False,
    'allow_download': False,
    'launcher': 'none',
}


def build_parser(prog: str = 'tools/test.py') -> argparse.ArgumentParser:
    """Options: those of mmdet's tool, ``--sample`` and ``--deploy``."""
    parser = config_parser(prog, 'Evaluate a checkpoint of the model of a config.')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file, or an exported file (.onnx); a folder with a trained model, and a '
        'trained model of this package, need none',
    )
    parser.add_argument(
        '--deploy',
        action='store_true',
        help='reparameterize the model once its weights are loaded, and evaluate that: the '
        'scores should be the same',
    )
    parser.add_argument(
        '--on-bad-sample',
        choices=['stop', 'skip'],
        default='stop',
        help='a picture that cannot be used is named and stops the evaluation; skip is refused',
    )
    parser.add_argument('--out', metavar='FILE.pkl', help='save the predictions as a pickle')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument('--show-dir', help='save pictures of the predictions to this folder')
    parser.add_argument(
        '--wait-time', type=number, default=2.0, help='seconds per window of --show'
    )
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/test.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    run_command(build_parser(prog), lambda: _test, argv)


def _test(
    config: str, checkpoint: Optional[str], command: Optional[str] = None, **settings: Any
) -> Optional[dict]:
    if not (checkpoint or '').endswith('.onnx'):
        return training.evaluate(config, checkpoint, command=command, **settings)
    from ..inference import evaluate_exported

    for name, default in _OF_CHECKPOINTS.items():
        if settings.pop(name) != default:
            option = f'--{name.replace("_", "-")}'
            raise UsageError(f'{option} does not apply to an exported file: {checkpoint}')
    return evaluate_exported(config, checkpoint, command=command, **settings)
