"""Command line of the demo."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, Iterator, Optional, Sequence, Tuple, Union

from ..core.errors import UsageError
from ..core.paths import shown
from ..inference.exported import SUFFIX, ExportedPredictor, load_exported
from ..inference.outputs import Outputs
from ..inference.sources import Source, UnreadableError, count_frames, find_sources, read_frames
from ..recipes.configs import find_config, load_config, merge_options
from ..recipes.starting_weights import existing_checkpoint
from ..toolboxes.predictor import Predictor
from .options import add_cfg_options, add_trust_option, count
from .run import run_command

_DESCRIPTION = """\
Run a detector, segmentor or classifier on a picture, a folder or a video. Writes a picture or video
with what was found for each of them, and predictions.json."""


def build_parser() -> argparse.ArgumentParser:
    """Options of ``tools/demo.py``."""
    parser = argparse.ArgumentParser(prog='tools/demo.py', description=_DESCRIPTION)
    parser.add_argument('input', metavar='INPUT', type=Path, help='picture, video, or folder')
    parser.add_argument(
        '--model',
        '--config',
        help='name of a config (mask_rcnn_tinyvim_b_1x_coco), or its path; an exported file needs '
        'none',
    )
    parser.add_argument(
        '--checkpoint',
        metavar='FILE',
        help='weights of the model, or an exported classifier or segmentor (.onnx)',
    )
    parser.add_argument(
        '--random-weights',
        action='store_true',
        help='do without weights, to try the pipeline; the predictions mean nothing then',
    )
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/demo'), help='folder (default: %(default)s)'
    )
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
        '--deploy', action='store_true', help='re-parameterise the network before it runs'
    )
    add_cfg_options(parser, 'change settings of the config: model.test_cfg.rcnn.max_per_img=10')
    add_trust_option(parser)
    return parser


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/demo.py``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: With code 2 after an error in the command or the files.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    if not any(argument.endswith(SUFFIX) for argument in argv):
        run_command(parser, demo, argv)
        return
    # An exported file runs without torch, which run_tool asks for.
    try:
        demo(parser.parse_args(argv))
    except UsageError as error:
        print(f'{parser.prog}: error: {error}', file=sys.stderr)
        raise SystemExit(2) from error


def demo(args: argparse.Namespace) -> None:
    """Predict, draw and write.

    Args:
        args: Parsed by :func:`build_parser`.

    Raises:
        UsageError: Something that the user can cure. Where single files of a
            folder cannot be read it comes last, after all others were done.
        CheckpointError: The checkpoint cannot be read or does not fit.
    """
    _check_weights(args)
    # What takes no time comes first.
    sources = find_sources(args.input)
    outputs = Outputs(args.out, sources)

    predictor = _load(args)
    outputs.facts.update(
        model=predictor.name,
        checkpoint=args.checkpoint,
        task=predictor.task,
        **predictor.settings,
    )
    failures: Dict[Path, str] = {}
    try:
        for source, frame, image in _frames(sources, failures):
            sample = predictor.predict(image)
            outputs.add(
                source,
                frame,
                predictor.draw(image, sample),
                predictor.describe(sample),
                predictor.label_map(sample),
            )
    finally:
        outputs.facts['classes'] = list(predictor.classes)
        outputs.close()
    print(f'Written to {shown(outputs.folder)}: {outputs.summary()}')
    if failures:
        lines = ''.join(f'\n  {shown(file)}: {why}' for file, why in failures.items())
        raise UsageError(f'{len(failures)} of {len(sources)} files could not be read:{lines}')


def _load(args: argparse.Namespace) -> Union[Predictor, ExportedPredictor]:
    if str(args.checkpoint).endswith(SUFFIX):
        return load_exported(args)
    if not args.model:
        raise UsageError(
            'no --model: name the config that the checkpoint was trained with, such as '
            'mask_rcnn_tinyvim_b_1x_coco'
        )
    from ..core import compat

    compat.apply()
    path = find_config(args.model)
    cfg = load_config(path)
    merge_options(cfg, args.cfg_options, args.model)

    from ..inference.loading import load_predictor

    predictor = load_predictor(cfg, args)
    predictor.name = path.stem
    if args.random_weights:
        print('RANDOM weights: the predictions mean nothing.', file=sys.stderr)
    return predictor


def _check_weights(args: argparse.Namespace) -> None:
    if args.checkpoint and args.random_weights:
        raise UsageError('give either --checkpoint or --random-weights, not both')
    if args.checkpoint:
        existing_checkpoint(args.checkpoint, '--checkpoint')
    elif not args.random_weights:
        raise UsageError(
            'no --checkpoint: name the file with the weights, such as one that tools/train.py '
            'wrote, or give --random-weights to try the pipeline without'
        )


def _frames(
    sources: Sequence[Source], failures: Dict[Path, str]
) -> Iterator[Tuple[Source, Optional[int], 'object']]:
    """All frames of all sources, with a bar of progress if there are several."""
    total = sum(count_frames(source) for source in sources)
    bar = None
    if total > 1 and find_spec('mmengine'):  # which exported files do without
        from mmengine.utils import ProgressBar

        bar = ProgressBar(total, file=sys.stdout)
    for source in sources:
        try:
            for frame, image in read_frames(source):
                yield source, frame, image
                if bar:
                    bar.update()
        except UnreadableError as error:
            failures[source.path] = str(error)
    if bar:
        print()


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value
