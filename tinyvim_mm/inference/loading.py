"""From a config and a checkpoint to something that predicts."""

import argparse
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, Dict, Mapping, Tuple

import torch
from torch import Tensor, nn

from ..conversion.keys import project_keys
from ..core.errors import MachineError
from ..models.backbones.base import StagedBackbone
from ..toolboxes.predictor import Predictor
from ..training.fit import backbone_part, recognise
from ..weights.files import CheckpointError, account_keys, extract_state_dict, load_file, unwrap

if TYPE_CHECKING:
    from mmengine.config import Config


def load_predictor(cfg: 'Config', args: argparse.Namespace) -> Predictor:
    """Build the network, fill it, and name its classes.

    Args:
        cfg: Of one of the toolboxes; changed in place to fit the checkpoint.
        args: Of the command.

    Raises:
        MachineError: The device is not there.
        CheckpointError: The checkpoint cannot be read, or does not fit.
    """
    from mmengine.registry import init_default_scope

    device = find_device(args.device)
    toolbox = import_module(f'tinyvim_mm.toolboxes.{cfg.default_scope}.predictor')
    meta: Dict[str, Any] = {}
    state: Dict[str, Tensor] = {}
    if args.checkpoint:
        state, meta = read_checkpoint(args.checkpoint, args.trust_checkpoint)
        toolbox.fit_config(cfg, state)
    with warnings.catch_warnings():
        # The inferencers complain of missing weights and class names; both come from here.
        warnings.simplefilter('ignore')
        init_default_scope(cfg.default_scope)
        predictor = toolbox.build(cfg, device, args)
    if args.checkpoint:
        problem = f'{args.checkpoint} does not fit {args.model}'
        fill(predictor.model, state, args.checkpoint, problem)
    predictor.name_classes(meta)
    if args.deploy:
        from ..models import reparameterize

        reparameterize(predictor.model, inplace=True)
    return predictor


def find_device(name: str) -> str:
    """Check the device that the user wants, or find one.

    Raises:
        MachineError: There is no such device here.
    """
    from mmengine.device import get_device

    try:
        device = torch.device(name or get_device())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises both
        reason = str(error).splitlines()[0]
        raise MachineError(f'--device {name} is not usable here: {reason}') from error
    return str(device)


def read_checkpoint(path: str, trust: bool = False) -> Tuple[Dict[str, Tensor], Dict[str, Any]]:
    """Read tensors, with the keys that they have in the file, and the names of classes.

    Args:
        path: See :func:`tinyvim_mm.weights.files.load_file`.
        trust: As there.

    Returns:
        Tensors by name, and what is known of the data set: ``classes`` and ``palette``.

    Raises:
        CheckpointError: The file cannot be read or holds no tensors.
    """
    file = load_file(path, trust=trust)
    state = extract_state_dict(file, path)
    meta = unwrap(file)[1].get('meta')
    if not isinstance(meta, Mapping):
        return state, {}
    # Versions before mmdet 3 and mmseg 1 write the names in capitals, in the meta itself.
    named = {**meta, **(meta.get('dataset_meta') or {})}
    lower = {str(key).lower(): value for key, value in named.items()}
    return state, {key: lower[key] for key in ('classes', 'palette') if lower.get(key)}


def fill(model: nn.Module, state: Mapping[str, Tensor], origin: str, problem: str) -> None:
    """Load weights into a network, all of them.

    Args:
        model: The network.
        state: Keys of the file; those of the release are accepted.
        origin: What to call the file in an error.
        problem: Begins the error if it does not fit.

    Raises:
        CheckpointError: Something is missing, left over, or of another shape, or
            the file holds the re-parameterised form.
    """
    own = dict(state)
    if isinstance(model.backbone, StagedBackbone):
        own = project_keys(state, origin, type(model.backbone))
        model.backbone.check_form(backbone_part(own), origin)
    report = account_keys(model.state_dict(), own)
    if not report.fits:
        raise CheckpointError(f'{problem}.{recognise(model, own, report)}\n{report.complaint()}')
    model.load_state_dict(own)
