"""``tinyvim-mm demo``, also ``tools/demo.py``."""

import argparse
import sys
from typing import Optional, Sequence

from .. import inference
from ..recipes.model_folder import trained_models
from .options import add_cfg_options, add_trust_option, count
from .run import run_command

_DESCRIPTION = """\
Run a detector, segmentor or classifier on pictures, folders and videos. Writes a picture or video
with what was found for each of them, and predictions.json. Without --model and --checkpoint, the
small trained models of this package run, each into a folder of its own."""


def build_parser(prog: str = 'tools/demo.py') -> argparse.ArgumentParser:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog=prog, description=_DESCRIPTION)
    parser.add_argument('input', metavar='INPUT', nargs='+', help='picture, video, or folder')
    parser.add_argument(
        '--model',
        '--config',
        help='name of a config (mask_rcnn_tinyvim_b_1x_coco), its path, a folder of finetune or '
        f'publish, which has the weights, too, or a trained model of this package '
        f'({", ".join(trained_models())}); an exported file needs none',
    )
    parser.add_argument(
        '--checkpoint',
        metavar='FILE',
        help='weights of the model, or an exported classifier, segmentor or detector (.onnx)',
    )
    parser.add_argument(
        '--random-weights',
        action='store_true',
        help='do without weights, to try the pipeline; the predictions mean nothing then',
    )
    parser.add_argument('--out', default='work_dirs/demo', help='folder (default: %(default)s)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1 ... (default: what is there)')
    parser.add_argument(
        '--score-thr',
        type=_share,
        default=0.3,
        metavar='SCORE',
        help='least score of a detected object (default: %(default)s)',
    )
    parser.add_argument(
        '--top-k',
        type=count,
        default=5,
        metavar='K',
        help='how many classes a classifier names (default: %(default)s)',
    )
    parser.add_argument(
        '--deploy', action='store_true', help='reparameterize the network before it runs'
    )
    add_cfg_options(parser, 'change settings of the config: model.test_cfg.rcnn.max_per_img=10')
    add_trust_option(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None, prog: str = 'tools/demo.py') -> None:
    """Run the command, see :func:`.run_command`; ``prog`` is how the user called it."""
    argv = sys.argv[1:] if argv is None else list(argv)
    # An exported file runs without torch.
    exported = any(argument.endswith('.onnx') for argument in argv)
    run_command(
        build_parser(prog),
        lambda: inference.predict,
        argv,
        needs=() if exported else ('torch', 'mmengine'),
    )


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value
