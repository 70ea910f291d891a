"""Classifier of mmpretrain that can learn from a teacher."""

import math
from typing import Any, Dict, Iterable, List, Optional

from torch import Tensor

from ...core import compat
from ...registry import MODELS
from ...weights.keys import extract_state_dict, translate_key, unwrap
from ..reparameterization import Deployable
from .teacher import Teacher

compat.apply()  # mmpretrain imports torchvision

from mmpretrain.models.classifiers import ImageClassifier  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402


@MODELS.register_module()
class DistilledClassifier(Deployable, ImageClassifier):
    """mmpretrain's ImageClassifier with distillation and released weights.

    Hard distillation (Touvron et al., "Training data-efficient image
    transformers & distillation through attention", 2021): the head's second
    layer learns the class that a teacher gives to each image as the student
    sees it, mixed and cropped. The loss is ``(1 - alpha)`` times that of the
    first layer against the labels, plus ``alpha`` times the cross entropy of
    the second against the teacher's classes.

    Soft distillation (Hinton et al., "Distilling the knowledge in a neural network",
    2015, at temperature 1): the head's only layer learns the labels, and the
    probabilities that the teacher gives to the classes. The loss is that against the
    labels plus ``weight`` times the Kullback-Leibler divergence from the teacher.

    A checkpoint in the released layout loads wherever a state dict does, be it
    bare or wrapped.

    The deployed form has no teacher.

    Args:
        backbone: Config of a backbone with raw outputs (``normalize_outputs=False``).
        head: Config of a :class:`DistillationHead`, which has a second layer if
            there is hard ``distillation``; without any, of any head.
        distillation: ``dict(type='hard', alpha=0.5, teacher=..., checkpoint=...)`` or
            ``dict(type='soft', weight=1.0, teacher=..., checkpoint=...)``, either with
            ``image_size`` and ``classes``, see
            :class:`.Teacher`; or ``None`` to train on the labels alone. The teacher is
            loaded when the training begins.
        kwargs: Arguments of mmpretrain's ImageClassifier (``neck``,
            ``train_cfg``, ``data_preprocessor``, ``init_cfg``, ``pretrained``).

    Raises:
        ValueError: ``distillation`` is not as above; the message says where.
    """

    def __init__(
        self, backbone: dict, head: dict, distillation: Optional[dict] = None, **kwargs
    ) -> None:
        settings = _read_distillation(distillation)
        head = {key: value for key, value in head.items() if key != 'distillation'}
        if settings is not None:  # other heads than a DistillationHead do not know it
            head['distillation'] = settings['type'] == 'hard'
        super().__init__(backbone, head=head, **kwargs)
        self.teacher: Optional[Teacher] = None
        if settings is not None:
            self.distillation = settings
            rest = [settings.get(key) for key in ('checkpoint', 'image_size', 'classes')]
            self.teacher = Teacher(settings['teacher'], *rest)

    def init_weights(self) -> None:
        """Initialize, and load the teacher; see :meth:`Teacher.load` for its errors.

        mmengine calls it at the start of a training, so that a teacher without
        weights is an error before the first step.
        """
        if self.teacher is not None:
            self.teacher.load()
        super().init_weights()

    def loss(self, inputs: Tensor, data_samples: List[DataSample]) -> Dict[str, Tensor]:
        """Losses of a training step with images ``(batch, channels, H, W)``, normalized and mixed.

        See :meth:`DistillationHead.loss` and :meth:`DistillationHead.soft_loss`.
        """
        if self.teacher is None:
            return super().loss(inputs, data_samples)
        classes = self.head.head.out_features
        if self.distillation['type'] == 'soft':
            logits = self.teacher.logits(inputs, self, classes)
            feats = self.extract_feat(inputs)
            return self.head.soft_loss(feats, data_samples, logits, self.distillation['weight'])
        labels = self.teacher.label(inputs, self, classes)
        feats = self.extract_feat(inputs)
        return self.head.loss(feats, data_samples, labels, self.distillation['alpha'])

    def fuse_parts(self) -> None:
        """Fold backbone and head, and let the teacher go."""
        for part in (self.backbone, self.head):
            if isinstance(part, Deployable):
                part.switch_to_deploy()
        self.teacher = None

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        inside = {k[len(prefix) :]: v for k, v in state_dict.items() if k.startswith(prefix)}
        for key in inside:
            del state_dict[prefix + key]
        if unwrap(inside)[0] is not inside:
            # mmengine unwraps 'state_dict' only; releases wrap in other words.
            inside = extract_state_dict(inside, 'the checkpoint')
        if self._is_released(inside):
            inside = {self._own_key(key): value for key, value in inside.items()}
        state_dict.update({prefix + key: value for key, value in inside.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _is_released(self, keys: Iterable[str]) -> bool:
        rules = getattr(self.backbone, 'released_key_rules', ())
        return not any(key.startswith('backbone.') for key in keys) and any(
            translate_key(key, rules) != key for key in keys
        )

    def _own_key(self, released: str) -> str:
        for theirs, own in self.backbone.released_head_pairs:
            if released.startswith(theirs):
                return f'head.{own}{released[len(theirs) :]}'
        return f'backbone.{released}'  # which translates the rest


#: What says how much the teacher counts, and its default, by type.
_STRENGTH = {'hard': ('alpha', 0.5), 'soft': ('weight', 1.0)}


def _read_distillation(distillation: Optional[dict]) -> Optional[dict]:
    if distillation is None:
        return None
    settings = dict(distillation)
    kind = settings.setdefault('type', 'hard')
    if kind not in _STRENGTH:
        raise ValueError(f"distillation.type must be 'hard' or 'soft', got {kind!r}")
    strength, default = _STRENGTH[kind]
    unknown = set(settings) - {'type', strength, 'teacher', 'checkpoint', 'image_size', 'classes'}
    if unknown or 'teacher' not in settings:
        raise ValueError(
            f"{kind} distillation takes 'type', '{strength}', 'teacher' (needed), 'checkpoint', "
            f"'image_size' and 'classes', got {', '.join(map(repr, distillation))}"
        )
    value = settings.setdefault(strength, default)
    number = isinstance(value, (int, float))
    if kind == 'hard' and not (number and 0 < value <= 1):
        raise ValueError(f'distillation.alpha must be in (0, 1], got {value!r}')
    if kind == 'soft' and not (number and 0 < value < math.inf):
        raise ValueError(f'distillation.weight must be positive, got {value!r}')
    side = settings.get('image_size')
    if side is not None and (not isinstance(side, int) or side < 1):
        raise ValueError(f'distillation.image_size must be a number of pixels, got {side!r}')
    classes = settings.get('classes')
    if classes is not None and not _are_numbers(classes):
        raise ValueError(
            "distillation.classes must list the numbers of the teacher's classes, each once, "
            f'got {classes!r}'
        )
    return settings


def _are_numbers(classes: Any) -> bool:
    return (
        isinstance(classes, (list, tuple))
        and 0 < len(classes) == len(set(map(str, classes)))
        and all(isinstance(number, int) and number >= 0 for number in classes)
    )
