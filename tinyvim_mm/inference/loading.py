"""From a config and a checkpoint to something that predicts."""

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Dict, Optional

from mmengine.registry import init_default_scope

from ..conversion.keys import recognize
from ..core.devices import find_device
from ..models import reparameterize
from ..recipes.building import building
from ..toolboxes import toolbox_of
from ..toolboxes.predictor import Predictor
from ..weights.files import load_file
from ..weights.keys import data_set, extract_state_dict
from ..weights.load import Policy, load_into

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
        name: What the user called the config; for messages. The others are those of
            :func:`.predict`.

    Returns:
        What predicts on pictures, ``(H, W, 3)``, uint8, in OpenCV's order of channels.

    Raises:
        MachineError: The device is not there.
        CheckpointError: The checkpoint cannot be read, or does not fit.
    """
    device = find_device(device)
    predictor_class = toolbox_of(cfg).PREDICTOR
    names: Dict[str, Any] = {}
    if checkpoint:
        content = load_file(checkpoint, trust=trust_checkpoint)
        predictor_class.fit_config(cfg, extract_state_dict(content, checkpoint))
        names = data_set(content)
    with warnings.catch_warnings(), building(cfg, name):
        # The inferencers complain of missing weights and class names; both come from here.
        warnings.simplefilter('ignore')
        init_default_scope(cfg.default_scope)
        predictor = predictor_class(cfg, device, score_thr=score_thr, top_k=top_k)
    if checkpoint:
        model = predictor.model
        load_into(model, content, Policy(name=name, recognize=partial(recognize, model)))
    predictor.name_classes(names)
    if deploy:
        reparameterize(predictor.model, inplace=True)
    return predictor
