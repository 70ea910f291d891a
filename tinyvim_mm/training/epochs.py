"""Epochs that can be gone on with in their middle."""

import itertools
import random
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ..core.errors import UsageError


class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's loop, which can begin with another batch than the first of an epoch."""

    _first = 0
    _random: Optional[Dict[str, Any]] = None

    def begin_at(self, batch: int, random_state: Optional[Dict[str, Any]]) -> None:
        """Leave out the first batches of the next epoch, which were trained on.

        Args:
            batch: Number of the first one that is trained on, from 0.
            random_state: Of this process as it was before that batch was loaded, see
                :func:`random_state`; ``None`` takes what comes.
        """
        self._first, self._random = batch, random_state

    def run_epoch(self) -> None:
        """Train for one epoch, or the rest of one."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in self._batches():
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches(self) -> Iterator[Tuple[int, Sequence]]:
        first, self._first = self._first, 0
        if not first:
            yield from enumerate(self.dataloader)
            return
        iterator = _iterate_from(self.dataloader, first)
        if self._random is not None:
            restore_random_state(self._random)
        yield from enumerate(iterator, first)


def place_in_epoch(runner: Runner, batches: int) -> Dict[str, Any]:
    """What a checkpoint has to hold for a training to go on in an epoch; all processes call this.

    Args:
        runner: Of the training.
        batches: How many of the epoch were trained on.
    """
    loader = runner.train_loop.dataloader
    return dict(
        batches=batches,
        length=len(loader),
        sampler_seed=getattr(_sampler(loader), 'seed', None),
        random=all_gather_object(random_state()),
    )


def go_on_in_epoch(runner: Runner, place: Dict[str, Any], file: str) -> None:
    """Let the next epoch begin where :func:`place_in_epoch` was called.

    Raises:
        UsageError: The loop of this training cannot begin in an epoch.
    """
    loop = runner.train_loop
    if not isinstance(loop, ResumableEpochLoop):
        raise UsageError(
            f'{file} was saved in the middle of an epoch, in which --strategy ddp alone can go on; '
            'name another checkpoint (--resume FILE)'
        )
    if len(loop.dataloader) != place['length']:
        loop._iter = loop.epoch * len(loop.dataloader)
        runner.logger.warning(
            f'the epoch had {place["length"]} steps when it was interrupted, and now has '
            f'{len(loop.dataloader)}: it begins anew'
        )
        return
    sampler = _sampler(loop.dataloader)
    if place['sampler_seed'] is not None and hasattr(sampler, 'seed'):
        sampler.seed = place['sampler_seed']  # without a fixed seed this run has another order
    states = place['random']
    loop.begin_at(place['batches'], states[get_rank()] if len(states) == get_world_size() else None)
    runner.logger.info(f'going on after step {place["batches"]} of epoch {loop.epoch + 1}')


def resumable(loop: Dict[str, Any]) -> Dict[str, Any]:
    """Settings of a loop, with :class:`ResumableEpochLoop` for mmengine's."""
    settings = dict(loop)
    kind = settings.get('type')
    if kind is None:
        plain = settings.pop('by_epoch', False) is True
    else:  # a name, or in some configs the class itself
        plain = (LOOPS.get(kind) if isinstance(kind, str) else kind) is EpochBasedTrainLoop
    return {**settings, 'type': ResumableEpochLoop} if plain else loop


def random_state() -> Dict[str, Any]:
    """States of all random generators of this process, in what a checkpoint may hold."""
    kind, keys, *rest = np.random.get_state()
    state = dict(
        python=random.getstate(),
        numpy=(str(kind), [int(key) for key in keys], int(rest[0]), int(rest[1]), float(rest[2])),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Dict[str, Any]) -> None:
    """Set what :func:`random_state` returned."""
    version, numbers, gauss = state['python']
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = state['numpy']
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    # A checkpoint may be loaded to another device.
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def _sampler(loader: DataLoader) -> Any:
    return getattr(loader.batch_sampler, 'sampler', loader.sampler)


def _iterate_from(loader: DataLoader, first: int) -> Iterator[Any]:
    if loader.num_workers and not loader.persistent_workers:
        # Each worker has drawn the random numbers of its earlier samples: to draw those that
        # follow, it has to load them again. That takes less time than to train on them again.
        iterator = iter(loader)
        for _ in range(first):
            next(iterator)
        return iterator
    with _without_first(loader, first):
        return iter(loader)


@contextmanager
def _without_first(loader: DataLoader, first: int) -> Iterator[None]:
    """Let an iterator of a loader that is made in this context leave out the first batches."""
    name = 'sampler' if loader.batch_sampler is None else 'batch_sampler'
    original = getattr(loader, name)
    rest = _Rest(original, first)
    vars(loader)[name] = rest  # the loader itself allows no other once it is made
    try:
        yield
    finally:
        vars(loader)[name] = original
        rest.first = 0  # workers that persist keep it for the epochs that follow


class _Rest:
    """A sampler without its first indices."""

    def __init__(self, sampler: Any, first: int) -> None:
        self.sampler = sampler
        self.first = first

    def __iter__(self) -> Iterator[Any]:
        return itertools.islice(self.sampler, self.first, None)

    def __len__(self) -> int:
        return len(self.sampler)
