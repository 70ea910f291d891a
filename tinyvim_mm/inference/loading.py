"""From a config and a checkpoint to something that predicts."""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Tuple

from torch import Tensor, nn

from ..conversion.keys import project_keys
from ..core.devices import find_device
from ..models import reparameterize
from ..models.backbones.base import StagedBackbone
from ..toolboxes.predictor import Predictor
from ..training.fit import backbone_part, recognise
from ..weights.files import CheckpointError, account_keys, extract_state_dict, load_file, unwrap

if TYPE_CHECKING:
    from mmengine.config import Config


def load_predictor(
    cfg: 'Config',
    checkpoint: Optional[str] = None,
    *,
    name: str = 'the config',
    device: Optional[str] = None,
    score_thr: float = 0.3,
    top_k: int = 5,
    deploy: bool = False,
    trust_checkpoint: bool = False,
) -> Predictor:
    """Build the network, fill it, and name its classes.

    Args:
        cfg: Of one of the toolboxes; changed in place to fit the checkpoint.
        checkpoint: Weights of the whole model; ``None`` leaves them random.
        name: What the user called the config; for messages.
        device: ``'cpu'``, ``'cuda'`` and so on; ``None`` takes what is there.
        score_thr: Least score of a detected object.
        top_k: How many classes a classifier names.
        deploy: Re-parameterise the network once it is filled.
        trust_checkpoint: Let the checkpoint execute code.

    Returns:
        What predicts on pictures, ``(H, W, 3)``, uint8, in OpenCV's order of channels.

    Raises:
        MachineError: The device is not there.
        CheckpointError: The checkpoint cannot be read, or does not fit.
    """
    from mmengine.registry import init_default_scope

    device = find_device(device)
    toolbox = import_module(f'tinyvim_mm.toolboxes.{cfg.default_scope}.predictor')
    meta: Dict[str, Any] = {}
    state: Dict[str, Tensor] = {}
    if checkpoint:
        state, meta = read_checkpoint(checkpoint, trust_checkpoint)
        toolbox.fit_config(cfg, state)
    with warnings.catch_warnings():
        # The inferencers complain of missing weights and class names; both come from here.
        warnings.simplefilter('ignore')
        init_default_scope(cfg.default_scope)
        predictor = toolbox.build(cfg, device, score_thr=score_thr, top_k=top_k)
    if checkpoint:
        fill(predictor.model, state, checkpoint, f'{checkpoint} does not fit {name}')
    predictor.name_classes(meta)
    if deploy:
        reparameterize(predictor.model, inplace=True)
    return predictor


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
