"""Command line of the analysis: what stands behind ``tools/analyze.py``."""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..core.errors import UsageError
from ..core.paths import shown
from .options import add_cfg_options
from .run import run_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..analysis.networks import Network

_DESCRIPTION = """\
Look inside a backbone while it sees pictures. Writes figures (.png), and the numbers behind them
with how they came about (.json), to a folder. Any config of the project serves, without a data set.
"""

_WARNING = 'RANDOM WEIGHTS{}: the architecture alone, no trained network'

_ANALYSES = {
    'spectrum': 'frequencies before and after the mixers that scan, and in the two branches of '
    'Laplace mixers',
    'erf': 'effective receptive fields, of several networks side by side',
    'features': 'feature maps of the stages beside the picture',
    'activations': 'statistics of every layer; which come near the limits of fp16',
}


def build_parser() -> argparse.ArgumentParser:
    """Options of ``tools/analyze.py``."""
    parser = argparse.ArgumentParser(prog='tools/analyze.py', description=_DESCRIPTION)
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
        nargs='+',
        default=[],
        metavar='CONFIG',
        help='names of configs (tinyvim_s_300e_in1k), or their paths; the backbone is looked at',
    )
    add(
        '--arch',
        nargs='+',
        default=[],
        metavar='NAME',
        help='bare backbones instead of, or beside, those of configs: tinyvim_s, mobilemamba_t2; '
        's, b and l are short for those of TinyViM',
    )
    add(
        '--checkpoint',
        nargs='+',
        metavar='FILE',
        help='weights: for each network a file, also of a whole model, or random (default: all '
        'random, with batch statistics of the pictures)',
    )
    add('--out', type=Path, help='folder (default: work_dirs/analysis)')
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
    add('--deploy', action='store_true', help='re-parameterise the networks before they run')
    add_cfg_options(parser, 'change settings of the configs')


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Entry of ``tools/analyze.py``.

    Args:
        argv: Command line without the program; ``None`` takes ``sys.argv``.

    Raises:
        SystemExit: With code 2 after an error in the command or the files.
    """
    run_command(build_parser(), analyze, argv)


def analyze(args: argparse.Namespace) -> None:
    """Look, draw and write.

    Args:
        args: Parsed by :func:`build_parser`.

    Raises:
        UsageError: Something that the user can cure.
        CheckpointError: A checkpoint cannot be read or does not fit.
    """
    from ..core import compat

    compat.apply()
    args.out = args.out or Path('work_dirs/analysis')
    _check(args)

    from ..analysis.networks import load_networks
    from ..analysis.pictures import load_pictures

    names, pictures = load_pictures(args.input, tuple(args.size), args.limit)
    networks = load_networks(args, pictures)
    run = {'spectrum': _spectrum, 'erf': _erf, 'features': _features, 'activations': _activations}
    figures, facts = run[args.analysis](args, networks, names, pictures)
    _write(args, networks, names, figures, facts)


def _check(args: argparse.Namespace) -> None:
    if min(args.size) < 32:
        raise UsageError(f'--size must be at least 32 32, got {" ".join(map(str, args.size))}')
    if args.limit < 1 or args.dpi < 10:
        raise UsageError('--limit must be at least 1 and --dpi at least 10')
    if args.analysis == 'erf' and args.stage == 0:
        raise UsageError('--stage counts from 1, or from the end: -1 is the last')
    if args.analysis != 'erf' and len(args.model) + len(args.arch) > 1:
        raise UsageError(
            f'{args.analysis} looks at one network, and {len(args.model) + len(args.arch)} are '
            'named; erf alone draws several side by side'
        )
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f'--out {args.out} is a file; name a folder')


Result = Tuple[Dict[str, 'Figure'], Dict[str, Any]]


def _spectrum(
    args: argparse.Namespace, networks: List['Network'], names: List[str], pictures: list
) -> Result:
    from ..analysis.spectrum import measure_spectra
    from ..visualization.spectra import draw_branches, draw_profiles

    del args
    (network,) = networks
    found = measure_spectra(network, pictures)
    about = _about(network, names)
    warning = _warning(networks)
    figures = {'spectrum': draw_profiles(found, f'Spectra at the mixers: {about}', warning)}
    laplace = [spectra for spectra in found if spectra.branches]
    if laplace:
        title = f'Branches of the Laplace mixers: {about}'
        figures['branches'] = draw_branches(laplace, title, warning)
    facts = [spectra.facts() for spectra in found]
    print('Share of the power above half of Nyquist, before and after:')
    for mixer in facts:
        for name, pair in mixer['spectra'].items():
            before, after = (
                pair[side]['share_of_power_above_half_nyquist'] for side in ('before', 'after')
            )
            label = mixer['name'] if name == 'mixer' else f'  {name}'
            print(f'  {label:<36} {before:7.2%} {after:7.2%}')
    return figures, {'mixers': facts}


def _erf(
    args: argparse.Namespace, networks: List['Network'], names: List[str], pictures: list
) -> Result:
    import torch

    from ..analysis.networks import PeerError, load_peer
    from ..analysis.receptive_field import (
        NoFieldError,
        area_shares,
        measure_field,
        pick_size,
        pick_stage,
    )
    from ..visualization.receptive_fields import Panel, draw_fields

    panels: List[Panel] = []
    facts: List[Dict[str, Any]] = []

    def measure(network: 'Network', pick: Callable) -> None:
        field = measure_field(network, pictures, pick)
        areas = area_shares(field)
        panels.append(Panel(f'{network.name}\n{network.described_weights}', field, areas))
        facts.append({**network.facts(), 'area_that_holds': areas})
        _print_areas(network.name, areas)

    print('Share of the area that holds a share of the contribution:')
    own = partial(pick_stage, stage=args.stage)
    for network in networks:
        measure(network, own)
    theirs = own
    if args.stage > 0 and args.peers:
        with torch.no_grad():
            maps = networks[0].outputs(networks[0].normalize(pictures[:1]))
        theirs = partial(pick_size, size=tuple(own(networks[0], maps).shape[2:]))
    peers: List[Network] = []
    for name in args.peers:
        try:
            peer = load_peer(name, tuple(args.size), args, pictures)
        except PeerError as error:
            problem = str(error)
        else:
            problem = ''
            try:
                measure(peer, theirs)
                peers.append(peer)
            except NoFieldError as error:
                problem = str(error)
        if problem:
            panels.append(Panel(name, problem=problem))
            facts.append({'name': name, 'problem': problem})
            print(f'  {name:<24} NOT MEASURED: {problem}')
    networks += peers
    where = 'the last stage' if args.stage == -1 else f'stage {args.stage}'
    title = (
        f'Effective receptive field of {where}, {args.size[0]} x {args.size[1]}, mean of '
        f'{_pictures(names)}\nbelow: share of the area that holds a share of the contribution'
    )
    figure = draw_fields(panels, title, _warning(networks))
    return {'erf': figure}, {'stage': args.stage, 'fields': facts}


def _features(
    args: argparse.Namespace, networks: List['Network'], names: List[str], pictures: list
) -> Result:
    from ..analysis.feature_maps import describe_stages
    from ..visualization.feature_maps import draw_feature_maps

    del args
    (network,) = networks
    maps = [describe_stages(network, picture) for picture in pictures]
    title = f'Outputs of the stages: {network.name}, {network.described_weights}'
    figure = draw_feature_maps(pictures, maps, title, _warning(networks))
    facts = {
        name: [stage.facts() for stage in stages] for name, stages in zip(names, maps, strict=True)
    }
    return {'features': figure}, {'stages': facts}


def _activations(
    args: argparse.Namespace, networks: List['Network'], names: List[str], pictures: list
) -> Result:
    from ..analysis.activations import FP16_MAX, measure_activations
    from ..visualization.activations import draw_activations

    del args
    (network,) = networks
    layers = measure_activations(network, pictures)
    figure = draw_activations(
        layers, f'Outputs of the layers: {_about(network, names)}', _warning(networks)
    )
    print(f'{"largest of " + str(len(layers)) + " layers":<44} max abs  of fp16       std')
    for layer in sorted(layers, key=lambda layer: -layer.max_abs)[:8]:
        print(
            f'  {layer.name:<40} {layer.max_abs:9.3g} {layer.max_abs / FP16_MAX:8.2%} '
            f'{layer.std:9.3g}'
        )
    broken = [layer.name for layer in layers if layer.non_finite]
    if broken:
        print(f'NOT FINITE in {len(broken)} layers, first in {broken[0]}')
    return {'activations': figure}, {'layers': [layer.facts() for layer in layers]}


def _about(network: 'Network', names: Sequence[str]) -> str:
    return f'{network.name}, {network.described_weights}, {_pictures(names)}'


def _pictures(names: Sequence[str]) -> str:
    return f'{len(names)} picture{"s" if len(names) > 1 else ""}'


def _warning(networks: Sequence['Network']) -> Optional[str]:
    random = [network for network in networks if not network.weights]
    if not random:
        return None
    mixed = len(random) < len(networks)
    return _WARNING.format(f' in {len(random)} of {len(networks)} panels' if mixed else '')


def _print_areas(name: str, areas: Dict[str, float]) -> None:
    print(f'  {name:<24} ' + '   '.join(f'{share} in {area:6.2%}' for share, area in areas.items()))


def _write(
    args: argparse.Namespace,
    networks: Sequence['Network'],
    names: List[str],
    figures: Dict[str, 'Figure'],
    facts: Dict[str, Any],
) -> None:
    from ..measuring.timing import provenance
    from ..visualization.figure import save_figure

    report = {
        'provenance': {**provenance(networks[0].device), 'command': args.command},
        'networks': [network.facts() for network in networks],
        'pictures': names,
        'size': args.size,
        'seed': args.seed,
        'deployed': args.deploy,
        **facts,
    }
    try:
        files = [
            save_figure(figure, args.out / f'{name}.png', args.dpi)
            for name, figure in figures.items()
        ]
        files.append(args.out / f'{args.analysis}.json')
        files[-1].write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
    except OSError as error:
        raise UsageError(f'--out {args.out} cannot be written to: {error}') from error
    print(f'Written: {", ".join(shown(file) for file in files)}')
