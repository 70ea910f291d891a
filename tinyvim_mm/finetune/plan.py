"""Choose model, sizes and schedule for the amount of data and the machine."""

import math
import os
from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

import numpy as np

from ..core.errors import UsageError
from .dataset import Data

#: Config of each task by default: what learns fastest from few pictures, on a CPU too.
MODELS = {
    'detect': 'mask_rcnn_tinyvim_s_1x_coco',
    'segment': 'fpn_tinyvim_s_40k_ade20k',
    'classify': 'tinyvim_s_300e_in1k',
}
SCOPES = {'detect': 'mmdet', 'segment': 'mmseg', 'classify': 'mmpretrain'}
# Longest side of pictures that are detected in, crops of the others, at least and at most, then
# pictures a step, and pictures a training sees: within an hour on 2 cores.
_LIMITS = {
    ('detect', 'cpu'): (320, 640, 4, 5_000),
    ('detect', 'cuda'): (512, 1333, 8, 40_000),
    ('segment', 'cpu'): (192, 192, 4, 4_000),
    ('segment', 'cuda'): (512, 512, 8, 80_000),
    ('classify', 'cpu'): (128, 128, 32, 16_000),
    ('classify', 'cuda'): (224, 224, 64, 200_000),
}
_FEWEST_EPOCHS, _MOST_EPOCHS = 12, 100
#: Smallest side, in pixels that the network sees, at which a small object is found well.
_LEAST_SIDE = 16
#: The step's pictures that the rates below are for, and the rate from random weights.
_RATES = {'detect': (4, 2e-4), 'segment': (4, 2e-4), 'classify': (32, 5e-4)}
#: Pretrained weights move with a smaller one.
_PRETRAINED = 0.5


@dataclass
class Plan:
    """What is trained how; ``why`` says of each field why it is so."""

    task: str
    model: str
    device: str
    image_size: int
    batch_size: int
    epochs: int
    lr: float
    workers: int
    why: Dict[str, str] = field(default_factory=dict)

    def steps_per_epoch(self, pictures: int) -> int:
        """Optimizer steps in which all training pictures are seen once."""
        return max(1, math.ceil(pictures / self.batch_size))


def make_plan(
    data: Data,
    device: str,
    model: Optional[str] = None,
    weights: bool = False,
    image_size: Optional[int] = None,
    batch_size: Optional[int] = None,
    epochs: Optional[int] = None,
    lr: Optional[float] = None,
) -> Plan:
    """Choose what the caller did not.

    Args:
        data: Checked, with splits.
        device: As torch calls it.
        model: Name or path of a config.
        weights: Whether training starts from some.
        image_size: Longest side for detection, side of the crops else; pixels.
        batch_size: Pictures a step.
        epochs: Passes over the training pictures.
        lr: Highest learning rate.

    Raises:
        UsageError: A value is out of range.
    """
    kind = 'cpu' if device == 'cpu' else 'cuda'
    least, most, usual_batch, seen = _LIMITS[data.task, kind]
    number = len(data.split('train'))
    where = 'a CPU' if kind == 'cpu' else 'a GPU'
    why = dict.fromkeys(('image_size', 'batch_size', 'epochs', 'lr'), 'as asked for')
    if image_size is None:
        image_size, why['image_size'] = _size(data, least, most, where)
    if batch_size is None:
        batch_size = max(2, min(usual_batch, number // 4))
        why['batch_size'] = f'{where}, {number} training pictures: several steps an epoch'
    if epochs is None:
        epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, round(seen / number)))
        why['epochs'] = f'about {seen} pictures seen on {where}, {_FEWEST_EPOCHS} epochs at least'
    if lr is None:
        base, lr = _RATES[data.task]
        lr = float(f'{lr * math.sqrt(batch_size / base) * (_PRETRAINED if weights else 1):.2g}')
        start = 'given weights, which shall not be lost' if weights else 'random weights'
        why['lr'] = f'for AdamW, {batch_size} pictures a step, from {start}'
    for name, value, smallest in (
        ('--image-size', image_size, 32),
        ('--batch-size', batch_size, 1),
        ('--epochs', epochs, 1),
    ):
        if value < smallest:
            raise UsageError(f'{name} must be at least {smallest}, got {value}')
    if not 0 < lr < 1:
        raise UsageError(f'--lr must lie between 0 and 1, got {lr}')
    cores = os.cpu_count() or 1
    workers = min(8, cores // 2) if kind == 'cuda' or cores > 4 else 0
    name = model or MODELS[data.task]
    return Plan(data.task, name, device, image_size, batch_size, epochs, lr, workers, why)


def object_sides(data: Data, image_size: int) -> Dict[str, List[float]]:
    """Sides of the objects of each class, as square roots of areas, in pixels that the network
    sees; classes without objects are left out.
    """
    sides: Dict[str, List[float]] = {}
    for picture in data.split('train'):
        for box in picture.boxes:
            side = math.sqrt(box.width * box.height) * image_size / max(picture.size)
            sides.setdefault(data.classes[box.label], []).append(side)
    return sides


def _size(data: Data, least: int, most: int, where: str) -> Any:
    longest = int(np.median([max(picture.size) for picture in data.split('train')]))
    size, reason = least, f'what {where} can process'
    if data.task == 'detect':
        sides = [side for found in object_sides(data, least).values() for side in found]
        small = float(np.percentile(sides or [_LEAST_SIDE], 10))
        if small < _LEAST_SIDE:
            size = min(most, least * _LEAST_SIDE / max(small, 1e-3))
            reason += f', and small objects have {_LEAST_SIDE} pixels, if it can'
    # Larger than the pictures are shows nothing more.
    if longest < size:
        size, reason = longest, 'the pictures are no larger'
    return max(64, 32 * math.ceil(size / 32)), reason
