"""Analysis of backbones: check the options, load, measure, draw, write."""

import json
from functools import partial
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

from ..core import compat
from ..core.errors import UsageError
from ..core.paths import shown
from ..measuring.timing import provenance
from ..visualization.figure import save_figure
from ..weights.downloads import with_word
from .activations import activations
from .feature_maps import features
from .networks import load_networks
from .peers import load_peer
from .pictures import load_pictures
from .receptive_field import receptive_fields
from .spectrum import spectra

#: Analyses of one network.
_OF_ONE = {'spectrum': spectra, 'features': features, 'activations': activations}


@with_word
def analyze(
    analysis: str,
    input: Sequence[Union[str, Path]],
    *,
    models: Sequence[str] = (),
    archs: Sequence[str] = (),
    checkpoints: Optional[Sequence[str]] = None,
    out: Union[str, Path] = 'work_dirs/analysis',
    size: Tuple[int, int] = (512, 512),
    limit: int = 8,
    seed: int = 0,
    device: Optional[str] = None,
    dpi: int = 110,
    deploy: bool = False,
    options: Optional[Mapping[str, Any]] = None,
    allow_new_keys: bool = False,
    allow_download: bool = False,
    stage: int = -1,
    peers: Sequence[str] = (),
    command: Optional[str] = None,
) -> Dict[str, Any]:
    """Look inside backbones while they see pictures; write figures, and the numbers behind them.

    Args:
        analysis: ``'spectrum'`` (frequencies before and after the mixers that scan),
            ``'erf'`` (effective receptive fields, of several networks side by side),
            ``'features'`` (maps of the stages) or ``'activations'`` (statistics of every
            layer).
        input: Pictures, or folders of them.
        models: Names or paths of configs, whose backbones are looked at; or folders with trained
            models, or names of those of this package.
        archs: Bare backbones instead of, or beside, those of configs: ``'tinyvim_s'``.
        checkpoints: Weights: for each network a file, or ``'random'``; ``None`` leaves all but
            trained models random, with batch statistics of the pictures.
        out: Folder for ``ANALYSIS.png`` and ``ANALYSIS.json``.
        size: Height and width to which pictures are scaled and cropped.
        limit: Pictures at most.
        seed: Of random weights.
        device: ``'cpu'``, ``'cuda'`` and so on; ``None`` takes what is there.
        dpi: Dots per inch of the figures.
        deploy: Reparameterize the networks before they run.
        options: Settings of the configs to change: dotted keys to values.
        allow_new_keys: Let ``options`` set keys that nothing here reads.
        allow_download: Let checkpoints be fetched from ``http://`` and ``https://``.
        stage: Of receptive fields: of which stage, from 1, or -1 for the last.
        peers: Of receptive fields: networks of timm to draw beside, ``NAME`` with random
            weights or ``NAME=FILE``.
        command: How the user called this, for the report.

    Returns:
        What ``ANALYSIS.json`` holds.

    Raises:
        UsageError: Something that the user can cure; the message says how.
        CheckpointError: A checkpoint cannot be read or does not fit.
        MissingPackageError: A package that a config needs is missing.

    Example:
        >>> from tinyvim_mm.analysis import analyze
        >>> analyze('erf', ['photo.jpg'], archs=['tinyvim_s', 'tinyvim_b'])  # doctest: +SKIP
    """
    compat.apply()
    out = Path(out)
    if min(size) < 32:
        raise UsageError(f'--size must be at least 32 32, got {" ".join(map(str, size))}')
    if limit < 1 or dpi < 10:
        raise UsageError('--limit must be at least 1 and --dpi at least 10')
    if analysis == 'erf' and stage == 0:
        raise UsageError('--stage counts from 1, or from the end: -1 is the last')
    if analysis != 'erf' and analysis not in _OF_ONE:
        raise UsageError(f'there is no analysis {analysis}, only {", ".join([*_OF_ONE, "erf"])}')
    if analysis != 'erf' and len(models) + len(archs) > 1:
        raise UsageError(
            f'{analysis} looks at one network, and {len(models) + len(archs)} are '
            'named; erf alone draws several side by side'
        )
    if out.exists() and not out.is_dir():
        raise UsageError(f'--out {out} is a file; name a folder')

    size = tuple(size)
    names, pictures = load_pictures(input, size, limit)
    settings = dict(device=device, seed=seed)
    networks = load_networks(
        models,
        archs,
        checkpoints,
        pictures,
        options=options,
        allow_new_keys=allow_new_keys,
        deploy=deploy,
        **settings,
    )
    if analysis == 'erf':
        peer = partial(load_peer, size=size, pictures=pictures, **settings)
        report = receptive_fields(networks, names, pictures, stage, peers, peer)
    else:
        report = _OF_ONE[analysis](networks[0], names, pictures)

    content = {
        'provenance': provenance(networks[0].device, command),
        'networks': [network.facts() for network in report.networks],
        'pictures': names,
        'size': size,
        'seed': seed,
        'deployed': deploy,
        **report.facts,
    }
    try:
        files = [
            save_figure(figure, out / f'{name}.png', dpi) for name, figure in report.figures.items()
        ]
        files.append(out / f'{analysis}.json')
        files[-1].write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    except OSError as error:
        raise UsageError(f'--out {out} cannot be written to: {error}') from error
    print(f'Written: {", ".join(shown(file) for file in files)}')
    return content
