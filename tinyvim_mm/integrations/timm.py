"""Networks in timm's registry: ``import tinyvim_mm.integrations.timm``, then ``timm.create_model``.

There are all of :func:`tinyvim_mm.models.catalogue.network_names`, such as ``tinyvim_s``, as
classifiers and, with ``features_only=True``, as feature extractors. Their maps are the raw ones of
the stages; norms that detectors and segmentors put behind them are part of the backbones.

``checkpoint_path`` takes files of the release and of this project: classifiers, and for feature
extractors detectors and segmentors too.
"""

import functools
from typing import Any, Callable, Dict, Mapping

from torch import Tensor, nn

from ..core import compat, environment

compat.apply()  # timm imports torchvision
environment.require('timm', purpose='tinyvim_mm.integrations.timm')

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD  # noqa: E402
from timm.models import (  # noqa: E402
    _factory,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
)

from ..models.catalogue import find_network, network_names  # noqa: E402
from ..registry import MODELS  # noqa: E402
from ..weights.files import load_file, refuse_not_finite, training_state_allowed  # noqa: E402
from ..weights.keys import extract_state_dict  # noqa: E402
from .timm_model import BackboneClassifier, BackboneFeatures, translate  # noqa: E402

#: What timm knows of each network; :func:`register_networks` fills it.
default_cfgs: Dict[str, Any] = {}


def _cfg(name: str) -> Dict[str, Any]:
    cls, arch = find_network(name)
    spec, (title, number) = cls.arch_settings[arch], cls.paper
    grid = -(-spec.image_size // cls.strides[-1])
    head = MODELS.build({**cls.classifier, 'in_channels': 1, 'num_classes': 1})
    return {
        'url': '',
        'num_classes': 1000,
        'input_size': (3, spec.image_size, spec.image_size),
        'min_input_size': (3, cls.min_size, cls.min_size),
        'pool_size': (grid, grid),
        'crop_pct': spec.crop_share,
        'interpolation': 'bicubic',
        'mean': IMAGENET_DEFAULT_MEAN,
        'std': IMAGENET_DEFAULT_STD,
        'first_conv': f'backbone.{cls.first_conv}',
        'classifier': 'head.head' if head.dist_head is None else ('head.head', 'head.dist_head'),
        'paper_ids': f'arXiv:{number}',
        'paper_name': title,
    }


def _create(name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    sources = [kwargs.get('pretrained_cfg'), kwargs.get('pretrained_cfg_overlay')]
    if pretrained and not any(sources):
        raise RuntimeError(
            f'{name}: no weights are hosted for pretrained=True; give a file of the release or of '
            'this project with checkpoint_path=FILE'
        )
    for source in sources if pretrained else ():
        file = _setting(source, 'file') or _setting(source, 'url')
        if file:  # which timm itself would fetch unasked, and read unsearched
            overlay = {**(sources[1] or {}), 'state_dict': _weights_of(file)}
            kwargs['pretrained_cfg_overlay'] = overlay
    stages = range(len(find_network(name)[0].strides))
    with training_state_allowed():  # in what timm itself fetches
        return build_model_with_cfg(
            BackboneClassifier,
            name,
            pretrained,
            pretrained_filter_fn=translate,
            feature_cfg={'out_indices': tuple(stages), 'feature_cls': BackboneFeatures},
            network=name,
            **kwargs,
        )


def _setting(source: Any, name: str) -> Any:
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def _weights_of(file: Any) -> Mapping[str, Tensor]:
    """Read the weights of a file once; as in timm, their moving average if there is one."""
    checkpoint = load_file(str(file))
    for key in ('state_dict_ema', 'model_ema'):
        average = checkpoint.get(key) if isinstance(checkpoint, Mapping) else None
        if average is not None:
            refuse_not_finite(average, str(file))
            return extract_state_dict(average, str(file))
    return extract_state_dict(checkpoint, str(file))


def _read_here(load_checkpoint: Callable[..., Any]) -> Callable[..., Any]:
    """What timm loads into networks of this project is read by :func:`load_file`."""

    @functools.wraps(load_checkpoint)
    def load(model: nn.Module, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(model, (BackboneClassifier, BackboneFeatures)):
            return load_checkpoint(model, checkpoint_path, *args, **kwargs)
        return model.load_state_dict(_weights_of(checkpoint_path))

    return load


# What create_model calls with checkpoint_path, of which the networks themselves never hear.
_factory.load_checkpoint = _read_here(_factory.load_checkpoint)


def register_networks() -> None:
    """Make an entry for each network of the catalogue that has none yet."""
    for name in set(network_names()) - set(default_cfgs):
        default_cfgs.update(generate_default_cfgs({name: _cfg(name)}))
        globals()[name] = register_model(_entrypoint(name))


def _entrypoint(name: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(name, pretrained, **kwargs)

    # timm takes names and module of an entry from the function.
    create.__name__ = create.__qualname__ = name
    cls, arch = find_network(name)
    create.__doc__ = f'{cls.title(arch)} for images of {cls.arch_settings[arch].image_size} pixels.'
    return create


register_networks()
