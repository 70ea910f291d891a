"""The networks of the tables: classifiers, detectors and segmentors around any backbone."""

import copy
import warnings
from collections import Counter, OrderedDict
from typing import Any, Dict, Optional, Tuple

import torch
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from ..core import compat, environment
from ..measuring.statistics import randomize_statistics
from ..models.reparameterization import Deployable, reparameterize
from ..recipes.zoo import get_config
from .schema import Row, Table


class UnavailableError(Exception):
    """A network cannot be built here; the message says why, for its row."""


def build(table: Table, row: Row) -> Tuple[nn.Module, Optional[float]]:
    """Build the network of a row with random weights, in the form that the row asks for.

    Returns:
        The network in evaluation mode, which takes ``(batch, 3, H, W)``; and the relative error
        of its deployed form against the one that trains, ``None`` if it was not reparameterized.

    Raises:
        UnavailableError: A package or a backbone is missing.
    """
    torch.manual_seed(0)
    if table.task == 'classification':
        model = _classifier(row.network)
    elif table.task == 'backbone':
        model = _backbone(row.network)
    elif 'config' in row.network:
        model = _recipe(table.task, row.network)
    else:
        model = _dense(table, row.network)
    model = randomize_statistics(model).eval()
    if not row.deployed:
        return model, None
    example = torch.rand(1, 3, *(table.size if table.task == 'classification' else (128, 160)))
    try:
        return _deploy(model, example)
    except RuntimeError as error:
        if 'timm' not in row.network:
            raise
        raise UnavailableError(f'{row.network["timm"]} of timm does not run: {error}') from error


def _classifier(network: Dict[str, Any]) -> nn.Module:
    if 'timm' in network:
        return _timm(network['timm'])
    cfg = dict(network)
    head = cfg.pop('head', None)
    backbone = _backbone({**cfg, 'normalize_outputs': False, 'out_indices': (-1,)})
    head = {**(head or backbone.classifier), 'in_channels': backbone.embed_dims[-1]}
    return nn.Sequential(OrderedDict(backbone=backbone, head=MODELS.build(head)))


def _backbone(cfg: Dict[str, Any]) -> nn.Module:
    if MODELS.get(cfg['type']) is None:
        raise UnavailableError(f'{cfg["type"]} is not in this version of tinyvim_mm')
    return MODELS.build(cfg)


def _timm(name: str, **options: Any) -> nn.Module:
    compat.apply()
    try:
        import timm
    except ImportError:
        message = 'timm is not installed (pip install timm)'
        raise UnavailableError(environment.with_hint(message)) from None
    if not timm.is_model(name):
        raise UnavailableError(f'timm {timm.__version__} has no {name}')
    return timm.create_model(name, **options)


class _Maps(nn.Module):
    """What ``infer`` of a dense network does, as a module of one tensor."""

    def __init__(self, model: nn.Module, task: str) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, x: Tensor) -> Any:
        """Images ``(batch, 3, H, W)`` to what the toolbox predicts before it resizes."""
        if self.task == 'segmentation':
            return self.model(x, mode='tensor')
        from mmdet.structures import DetDataSample

        meta = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), tuple(x.shape[-2:]))
        meta['scale_factor'] = (1.0, 1.0)
        return self.model.predict(x, [DetDataSample(metainfo=dict(meta)) for _ in x])


def _toolbox(task: str) -> str:
    """The toolbox of a dense task, which has to be usable."""
    scope = {'detection': 'mmdet', 'segmentation': 'mmseg'}[task]
    try:
        environment.require('mmcv', scope, purpose='this row')
    except environment.MissingPackageError as error:
        raise UnavailableError(f'{scope} is not usable here: {error}') from None
    return scope


def _build_dense(cfg: Dict[str, Any], scope: str) -> nn.Module:
    cfg.backbone = {**cfg.backbone, 'init_cfg': None}
    if 'rcnn' in (cfg.get('test_cfg') or {}):
        # With random weights hardly a score passes the usual threshold; so all keep 100.
        cfg.test_cfg.rcnn.score_thr = 0.0
    with DefaultScope.overwrite_default_scope(scope), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return MODELS.build(cfg)


def _recipe(task: str, network: Dict[str, Any]) -> nn.Module:
    scope = _toolbox(task)
    cfg = get_config(network['config'])
    options = network.get('options', {})
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    if 'backbone.type' in options:
        _fit_to_backbone(cfg.model)
    return _Maps(_build_dense(cfg.model, scope), task)


def _fit_to_backbone(cfg: Dict[str, Any]) -> None:
    """Give what follows another backbone the channels of its maps."""
    _, spec = MODELS.get(cfg.backbone.type).read_arch(cfg.backbone.arch)
    widths = list(spec.embed_dims)
    if 'neck' in cfg:
        cfg.neck.in_channels = widths[-len(cfg.neck.in_channels) :]
    else:
        cfg.decode_head.in_channels = widths
        cfg.auxiliary_head.in_channels = widths[cfg.auxiliary_head.in_index]


def _dense(table: Table, network: Dict[str, Any]) -> nn.Module:
    scope = _toolbox(table.task)
    cfg = get_config(table.base).model
    if 'timm' in network:
        backbone = _timm(network['timm'], features_only=True)
        channels = backbone.feature_info.channels()
        channels = channels[-len(cfg.neck.in_channels) :]
        backbone = _Last(backbone, len(channels))
    else:
        backbone = _backbone(network)
        channels = list(backbone.embed_dims)
    cfg.neck.in_channels = channels
    model = _build_dense(cfg, scope)
    model.backbone = backbone
    return _Maps(model, table.task)


class _Last(nn.Module):
    """The last maps of a backbone: some networks of timm return one of stride 2 before them."""

    def __init__(self, backbone: nn.Module, count: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.count = count

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        return tuple(self.backbone(x)[-self.count :])


def _deploy(model: nn.Module, example: Tensor) -> Tuple[nn.Module, Optional[float]]:
    deployed = copy.deepcopy(model)
    if any(isinstance(module, Deployable) for module in deployed.modules()):
        deployed = reparameterize(deployed, inplace=True)
    else:
        from timm.utils import reparameterize_model

        reparameterize_model(deployed, inplace=True).eval()
        fused = copy.deepcopy(deployed)
        _fuse_adjacent(_core(fused), example)
        if _difference(fused, deployed, example) < 1e-4:
            deployed = fused
    error = _difference(deployed, model, example)
    if not error < 1e-3:
        raise UnavailableError(f'its deployed form differs from the trained one by {error:.1e}')
    return deployed, error


def _difference(model: nn.Module, reference: nn.Module, example: Tensor) -> float:
    """Largest relative error of an output, in the L2 norm."""
    with torch.no_grad():
        outputs = [_core(network)(example) for network in (model, reference)]
    pairs = zip(*([o] if isinstance(o, Tensor) else o for o in outputs), strict=True)
    return max(float((out - truth).norm() / truth.norm()) for out, truth in pairs)


def _core(model: nn.Module) -> nn.Module:
    """What reparameterization changes: of a dense network its backbone."""
    return model.model.backbone if isinstance(model, _Maps) else model


def _fuse_adjacent(model: nn.Module, example: Tensor) -> None:
    """Fold batch norms into the convolutions right before them, in place.

    timm folds the branches of its reparameterizable networks and leaves other batch norms as
    they are. Which convolution's output a norm takes, and that nothing else does, is seen by
    running the network once.
    """
    produced: Dict[int, nn.Conv2d] = {}
    keep, pairs, uses = [], [], Counter()

    def before(module: nn.Module, inputs: Tuple[Any, ...]) -> None:
        uses.update(id(x) for x in inputs if isinstance(x, Tensor))

    def after(module: nn.Module, inputs: Tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            produced[id(output)] = module
            keep.append(output)  # else its id is given to another tensor
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in produced:
            pairs.append((produced[id(inputs[0])], module, id(inputs[0])))

    leaves = [m for m in model.modules() if not list(m.children())]
    handles = [m.register_forward_pre_hook(before) for m in leaves]
    handles += [m.register_forward_hook(after) for m in leaves]
    with torch.no_grad():
        model(example)
    for handle in handles:
        handle.remove()
    seen, plain = [conv for conv, _, _ in pairs], nn.BatchNorm2d.forward
    for conv, norm, output in pairs:
        # A map that a sum takes too does not show here, but in the difference of the outputs.
        if uses[output] == 1 and seen.count(conv) == 1 and type(norm).forward is plain:
            fused = torch.nn.utils.fuse_conv_bn_eval(conv, norm)
            conv.weight, conv.bias = fused.weight, fused.bias
            for parent in model.modules():
                for name, child in parent.named_children():
                    if child is norm:
                        setattr(parent, name, nn.Identity())
