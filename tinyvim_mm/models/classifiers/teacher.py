"""The frozen network that a student learns from."""

import copy
from importlib.util import find_spec
from typing import Any, Optional, Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...core.environment import MissingPackageError
from ...core.errors import CheckpointError
from ...weights import efficientnet
from ...weights.files import Checkpoint, load_file
from ...weights.keys import extract_state_dict
from ...weights.load import Policy, load_into

#: Where the cure of every error begins.
_OPTION = '--cfg-options model.distillation'


class Teacher:
    """A classifier of mmpretrain or timm that judges the student's images.

    It is not a module, so that the student does not contain it: it is in no state
    dict, checkpoint or moving average of the student, and neither the optimizer nor
    the training mode reaches it. Only training needs the network, so :meth:`load`
    builds it and reads its weights, not the constructor.

    Args:
        model: Config of a classifier, such as ``dict(type='ImageClassifier',
            ...)`` or, for the models of timm, ``dict(type='TimmClassifier',
            model_name='regnety_160')``. Without a ``data_preprocessor`` it takes
            images normalized as the student's.
        checkpoint: File with its weights; of a model of timm also in the layout of the
            packages ``efficientnet_pytorch`` and ``efficientnet_lite_pytorch``.
        image_size: Side in pixels of the squares that it gets, if the student's
            images have another size; ``None`` leaves them as they are.
        classes: The student's classes, each by its number among the teacher's, where
            the student knows a part of them; ``None`` for all, in the same order.
    """

    def __init__(
        self,
        model: dict,
        checkpoint: Optional[str],
        image_size: Optional[int] = None,
        classes: Optional[Sequence[int]] = None,
    ) -> None:
        if not isinstance(model, dict) or 'type' not in model:
            raise ValueError(
                'distillation.teacher must be the config of a classifier, such as '
                f"dict(type='TimmClassifier', model_name='regnety_160'), got {model!r}"
            )
        self.cfg = model
        self.checkpoint = checkpoint
        self.image_size = image_size
        self.classes = None if classes is None else list(classes)
        self.model: Optional[nn.Module] = None

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        # A moving average copies the student; both have the same teacher.
        return self

    def load(self) -> None:
        """Build the network and fill it; does nothing the second time.

        Raises:
            MissingPackageError: timm is missing.
            CheckpointError: The file is absent, damaged, unsafe, or does not fit.
        """
        if self.model is not None:
            return
        checkpoint = self._read()
        if str(self.cfg['type']).endswith('TimmClassifier') and find_spec('timm') is None:
            raise MissingPackageError(
                f'the teacher {self._name()} is a model of timm, which is not installed: '
                f"pip install 'timm>=1.0', or train without a teacher with `{_OPTION}=None`"
            )
        model = MODELS.build({**copy.deepcopy(self.cfg), '_scope_': 'mmpretrain'})
        state = extract_state_dict(checkpoint, str(self.checkpoint))
        if efficientnet.has_foreign_keys(state):
            renamed = efficientnet.to_timm(state, model.state_dict())
            checkpoint = Checkpoint(renamed, str(self.checkpoint))
        load_into(model, checkpoint, Policy(name=f'the teacher {self._name()}'))
        self.model = model.requires_grad_(False).eval()

    def label(self, inputs: Tensor, student: nn.Module, num_classes: int) -> Tensor:
        """The teacher's decisions, ``(batch,)``, indices of classes; see :meth:`logits`."""
        return self.logits(inputs, student, num_classes).argmax(1)

    @torch.no_grad()
    def logits(self, inputs: Tensor, student: nn.Module, num_classes: int) -> Tensor:
        """The teacher's judgment, ``(batch, num_classes)``.

        Args:
            inputs: ``(batch, channels, H, W)``, as the student takes them.
            student: Its data preprocessor tells how they were normalized.
            num_classes: Classes of the student.

        Raises:
            ValueError: The teacher distinguishes another number of classes, or too few.
        """
        self.load()
        if next(self.model.parameters()).device != inputs.device:
            self.model.to(inputs.device)
        images = self._resize(self._normalize(inputs, student.data_preprocessor))
        return self._of_student(self.model(images), num_classes)

    def _of_student(self, logits: Tensor, number: int) -> Tensor:
        known = logits.shape[1]
        if self.classes is None and known == number:
            return logits
        if self.classes is None:
            raise ValueError(
                f'the teacher {self._name()} distinguishes {known} classes and the student '
                f"{number}: say which of its classes are the student's with "
                f'`{_OPTION}.classes=[...]`, take another teacher, or train without one with '
                f'`{_OPTION}=None`'
            )
        if len(self.classes) != number or max(self.classes) >= known:
            raise ValueError(
                f'distillation.classes lists {len(self.classes)} classes up to number '
                f'{max(self.classes)}, for a student of {number} and the teacher {self._name()} '
                f'of {known}, counted from 0'
            )
        return logits[:, self.classes]

    def _resize(self, images: Tensor) -> Tensor:
        side = self.image_size
        if side is None or tuple(images.shape[-2:]) == (side, side):
            return images
        return F.interpolate(images, size=(side, side), mode='bilinear', antialias=True)

    def _normalize(self, inputs: Tensor, given: nn.Module) -> Tensor:
        if self.cfg.get('data_preprocessor') is None:
            return inputs
        wanted = self.model.data_preprocessor
        if _normalization(given) == _normalization(wanted):
            return inputs
        if hasattr(given, 'mean'):
            inputs = inputs * given.std + given.mean
        if given.to_rgb != wanted.to_rgb:
            inputs = inputs.flip(1)
        if hasattr(wanted, 'mean'):
            inputs = (inputs - wanted.mean) / wanted.std
        return inputs

    def _read(self) -> Any:
        cure = (
            f'Name the file that you have with\n  {_OPTION}.checkpoint=FILE\nor train without a '
            f'teacher, unlike the published results, with\n  {_OPTION}=None'
        )
        if self.checkpoint is None:
            raise CheckpointError(f'the teacher {self._name()} has no weights. {cure}')
        try:
            return load_file(self.checkpoint)
        except FileNotFoundError as error:
            raise CheckpointError(
                f'weights of the teacher {self._name()}: {error}. {cure}'
            ) from None

    def _name(self) -> str:
        return str(self.cfg.get('model_name') or self.cfg['type'])


def _normalization(preprocessor: nn.Module) -> Any:
    values = [getattr(preprocessor, name, None) for name in ('mean', 'std')]
    return preprocessor.to_rgb, [None if v is None else v.flatten().tolist() for v in values]
