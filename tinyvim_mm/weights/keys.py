"""Keys of checkpoints: where the weights are, how keys are renamed, what became of each."""

import re
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

from torch import Tensor

from ..core.errors import CheckpointError

#: Rewrites of released keys: (pattern, replacement) of :func:`re.sub`, all applied in turn.
KeyRules = Sequence[Tuple[str, Any]]

_MAX_KEYS_SHOWN = 4

#: Where checkpoints keep their weights. Of the last weights (``net``) and their moving
#: average (``net_E``) in one file it is the average: that is what was evaluated.
WRAPPERS = ('state_dict', 'model', 'net_E', 'net')


def unwrap(checkpoint: Any) -> Tuple[Any, Dict[str, Any]]:
    """Split a checkpoint into its state dict, bare or in one of :data:`WRAPPERS`, and the rest."""
    if isinstance(checkpoint, Mapping):
        for wrapper in WRAPPERS:
            if isinstance(checkpoint.get(wrapper), Mapping):
                others = {key: v for key, v in checkpoint.items() if key != wrapper}
                return checkpoint[wrapper], others
    return checkpoint, {}


def extract_state_dict(checkpoint: Any, origin: str) -> Dict[str, Tensor]:
    """Find the tensors in a checkpoint; prefixes of wrappers (DDP, torch.compile) are dropped.

    The versions of modules that torch keeps beside a state dict stay with it. Without a
    mapping from names to tensors it is a CheckpointError, which says ``origin``.
    """
    state, _ = unwrap(checkpoint)
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f'{origin} holds {type(checkpoint).__name__}, not a mapping from names to tensors'
        )
    tensors = OrderedDict(
        (re.sub(r'^(module\.|_orig_mod\.)+', '', key), value)
        for key, value in state.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    )
    if not tensors:
        keys = ', '.join(map(str, list(state)[:_MAX_KEYS_SHOWN]))
        raise CheckpointError(f'{origin} holds no tensors; its keys are: {keys or "none"}')
    versions = getattr(state, '_metadata', None)  # of modules, which may rename keys by them
    if versions is not None:
        tensors._metadata = versions
    return tensors


def data_set(checkpoint: Any) -> Dict[str, Any]:
    """What a checkpoint says of its dataset: ``classes`` and ``palette``, where it has them."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    if not isinstance(meta, Mapping):
        return {}
    # Versions before mmdet 3 and mmseg 1 write the names in capitals, in the meta itself.
    inner = meta.get('dataset_meta')
    named = {**meta, **inner} if isinstance(inner, Mapping) else meta
    lower = {str(key).lower(): value for key, value in named.items()}
    return {key: lower[key] for key in ('classes', 'palette') if lower.get(key)}


def literal_rules(pairs: Iterable[Tuple[str, str]]) -> KeyRules:
    """Rules that replace literal parts of keys.

    Args:
        pairs: (old part, new part). A ``^`` before both binds them to the start
            of the key. With the two swapped the rules undo each other, unless
            a new part also occurs in old keys.
    """
    return tuple(
        ('^' * old.startswith('^') + re.escape(old.removeprefix('^')), new.removeprefix('^'))
        for old, new in pairs
    )


def translate_key(key: str, rules: KeyRules) -> str:
    """Apply all rules to one key."""
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


@dataclass
class LoadReport:
    """What became of every key of a checkpoint and of a model.

    Attributes:
        used: Keys of the model that were filled from the file.
        aside: For each reason, keys of the file that were not used.
        fresh: Keys of the model that keep their initial values.
        mismatched: Key to (shape in the file, shape in the model); the first with the type
            of its numbers where the model has no use for that.
        missing: Keys of the model that the file should have held.
        unknown: Keys of the file that mean nothing to the model.
        constants: How many keys of the file the model compared with constants of its own,
            and took out.
    """

    used: List[str] = field(default_factory=list)
    aside: Dict[str, List[str]] = field(default_factory=lambda: defaultdict(list))
    fresh: List[str] = field(default_factory=list)
    mismatched: Dict[str, Tuple[tuple, tuple]] = field(default_factory=dict)
    missing: List[str] = field(default_factory=list)
    unknown: List[str] = field(default_factory=list)
    constants: int = 0

    @property
    def fits(self) -> bool:
        """Whether nothing is missing, left over, or of another shape."""
        return not (self.mismatched or self.missing or self.unknown)

    def account(self) -> str:
        """All keys in a few lines."""
        lines = [f'{len(self.used)} tensors used']
        for reason, keys in self.aside.items():
            lines.append(f'{len(keys)} left aside, {reason}: {some(keys)}')
        lines.append(f'{len(self.fresh)} fresh: {some(self.fresh)}' if self.fresh else '0 fresh')
        if self.constants:
            lines.append(f'{self.constants} constants of the network, as they should be')
        return '; '.join(lines)

    def complaint(self) -> str:
        """What does not fit, in a few lines."""
        lines = []
        if self.mismatched:
            first = list(self.mismatched.items())[:_MAX_KEYS_SHOWN]
            shown = [f'{key} is {a} in the file, {b} in the model' for key, (a, b) in first]
            kinds = any(isinstance(side, str) for a, _ in self.mismatched.values() for side in a)
            what = f'another shape{" or type" * kinds}'
            lines.append(f'{len(self.mismatched)} of {what}: {"; ".join(shown)}')
        if self.missing:
            lines.append(f'{len(self.missing)} missing in the file: {some(self.missing)}')
        if self.unknown:
            lines.append(f'{len(self.unknown)} unknown to the model: {some(self.unknown)}')
        return '\n'.join(f'  {line}' for line in lines)


def some(keys: Sequence[str]) -> str:
    """The first few keys, and how many more there are."""
    more = len(keys) - _MAX_KEYS_SHOWN
    return ', '.join(keys[:_MAX_KEYS_SHOWN]) + (f' and {more} more' if more > 0 else '')
