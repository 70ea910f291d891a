"""What a checkpoint holds: which backbone, for which task, in which layout."""

import re
from functools import cache
from typing import Dict, FrozenSet, Iterable, Mapping, Tuple, Type

import torch
from torch import Tensor

from ..core.errors import CheckpointError
from ..models.backbones.base import StagedBackbone
from ..models.catalogue import BACKBONES
from ..weights.keys import LoadReport, translate_key
from ..weights.load import Policy, load_into

LAYOUTS = ('project', 'released')

#: What stands beside the backbone in each task but classification. These bear the
#: same names in mmdet 2 and 3, and in mmseg 0 and 1.
TASK_PARTS: Dict[str, Tuple[str, ...]] = {
    'detection': ('neck', 'rpn_head', 'roi_head', 'bbox_head', 'mask_head'),
    'segmentation': ('neck', 'decode_head', 'auxiliary_head'),
}
CLASSIFICATION = 'classification'
TASKS = (CLASSIFICATION, *TASK_PARTS)

Backbone = Type[StagedBackbone]


@cache
def _key_forms(cls: Backbone) -> FrozenSet[str]:
    """Keys of a backbone with a sign in place of each number."""
    with torch.device('meta'):  # names are wanted, not values
        return frozenset(_form(key) for key in cls().state_dict())


def _form(key: str) -> str:
    return re.sub(r'\d+', '#', key)


def find_backbone(keys: Iterable[str], origin: str) -> Backbone:
    """The class to which most keys, without the backbone's prefix, belong, in either layout.

    That they belong to none, or may to several, is a CheckpointError, which says ``origin``.
    """
    keys = list(keys)
    scores = {}
    for cls in BACKBONES.values():
        forms = [_form(translate_key(key, cls.released_key_rules)) for key in keys]
        scores[cls] = sum(form in _key_forms(cls) for form in forms)
    best = [cls for cls, score in scores.items() if score == max(scores.values())]
    if not max(scores.values()):
        raise CheckpointError(
            f'{origin} holds no {" or ".join(cls.__name__ for cls in scores)}; its keys begin with '
            f'{", ".join(sorted({key.split(".")[0] for key in keys})[:8]) or "nothing"}'
        )
    if len(best) > 1:
        raise CheckpointError(
            f'{origin} holds too little to tell whose it is: it could be of a '
            f'{" or a ".join(cls.__name__ for cls in best)}'
        )
    return best[0]


def parts(cls: Backbone, task: str) -> Tuple[str, ...]:
    """Tops of the keys that stand beside the backbone, in both layouts."""
    if task != CLASSIFICATION:
        return TASK_PARTS[task]
    released = [theirs.split('.')[0] for theirs, _ in cls.released_head_pairs]
    return tuple(dict.fromkeys([*released, 'head']))


def find_task(cls: Backbone, state: Mapping[str, Tensor], prefix: str, origin: str) -> str:
    tops = {key.split('.')[0] for key in state}
    tops.discard('neck')  # of two tasks
    found = [task for task in TASKS if tops & set(parts(cls, task))]
    if len(found) == 1:
        return found[0]
    if not found and not prefix:
        return CLASSIFICATION
    what = f'parts of {" and ".join(found)}' if found else 'no head'
    raise CheckpointError(
        f'{origin} has {what}, which does not tell its task; name it with --task {"|".join(TASKS)}'
    )


def find_layout(cls: Backbone, keys: Iterable[str], origin: str) -> str:
    keys = list(keys)
    released = [k for k in keys if translate_key(k, cls.released_key_rules) != k]
    back = cls.rules_to_released(keys)
    project = [k for k in keys if translate_key(k, back) != k]
    if released and project:
        raise CheckpointError(
            f'{origin} mixes layouts: {released[0]} is a key of the release, {project[0]} one of '
            'this project'
        )
    return 'released' if released else 'project'


def check_backbone(
    cls: Backbone, state: Mapping[str, Tensor], arch: str, origin: str
) -> Tuple[str, LoadReport]:
    """Hold a backbone in the project's layout against the architecture that it has."""
    with torch.device('meta'):  # names and shapes are wanted, not values
        if cls().is_deployed_form(state):
            raise CheckpointError(
                f'{origin} holds a reparameterized {cls.__name__}, for which there is one layout '
                'only; convert the checkpoint that it was made from'
            )
        if arch == 'custom':
            return arch, LoadReport()
        found = cls.find_arch(state)
        if found is None:
            raise CheckpointError(
                f'{origin} has the widths of none of the architectures '
                f'({", ".join(cls.arch_settings)}); --arch custom converts by name alone'
            )
        arch = found if arch == 'auto' else arch
        if not cls.same_arch(arch, found):
            raise CheckpointError(f'{origin} holds {cls.title(found)}, not {cls.title(arch)}')
        normed = any(key.startswith('out_norms.') for key in state)
        model = cls(arch, **({'normalize_outputs': True} if normed else {}))
    fresh = model.keys_that_may_be_fresh
    policy = Policy(whole=False, may_be_fresh=fresh, finite=False, fill=False)
    report = load_into(model, state, policy)
    if report.missing or report.mismatched:
        report.unknown = []  # there are other complaints first
        raise CheckpointError(
            f'{origin} does not hold the whole of {model.describe()} as released (--arch custom '
            f'converts what is there by name alone):\n{report.complaint()}'
        )
    return arch, report
