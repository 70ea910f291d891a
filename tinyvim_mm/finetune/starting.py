"""Which part of the model given weights fill, with an account of them."""

from typing import TYPE_CHECKING, Optional, Tuple

from ..core.errors import CheckpointError
from ..recipes.starting_weights import existing_checkpoint
from ..weights.files import load_file
from ..weights.load import Policy, load_into

if TYPE_CHECKING:
    from mmengine.config import Config


def choose_start(recipe: 'Config', file: Optional[str], trust: bool) -> Tuple[str, str]:
    """Find out what a file holds: ``'whole'`` model, ``'backbone'`` alone, or ``'nothing'``.

    Args:
        recipe: Of the model, with the heads of the recipe.
        file: Path or address; ``None`` starts from random weights.
        trust: Let the file execute code.

    Returns:
        How the config names it, and its absolute path.

    Raises:
        CheckpointError: It cannot be read, or fits no part.
        UsageError: It does not exist.
    """
    if file is None:
        return 'nothing', ''
    from pathlib import Path

    from mmengine.registry import MODELS, init_default_scope

    file = existing_checkpoint(file, '--weights')
    path = file if '://' in file else str(Path(file).resolve())
    init_default_scope(recipe.default_scope)
    model_cfg = recipe.model.copy()
    model_cfg['backbone']['init_cfg'] = None
    if 'distillation' in model_cfg:
        model_cfg['distillation'] = None
    model = MODELS.build(model_cfg)
    content = load_file(file, trust=trust)
    report = load_into(model, content, Policy(whole=False, fill=False))
    inside = [key for key in report.used if key.startswith('backbone.')]
    if len(report.used) > len(inside):
        left = list(report.mismatched)
        print(
            f'{file} is a whole model: {len(report.used)} tensors fit; left out: {left or "none"}'
        )
        return 'whole', path
    if not inside:
        prefixes = ('backbone.', '')
        policy = Policy(name='the backbone', whole=False, fill=False, prefixes=prefixes)
        report = load_into(model.backbone, content, policy)
        inside = report.used
    if not inside:
        raise CheckpointError(f'--weights {file} fits no part of the model.\n{report.complaint()}')
    print(f'{file} fills the backbone, {len(inside)} tensors')
    return 'backbone', path
