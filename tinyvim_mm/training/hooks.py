"""Hooks of mmengine's Runner that the tools add."""

from typing import Any, Dict, List

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed
from torch import nn

from ..core import environment
from ..models.layers import SS2D
from ..ops import describe_choice
from ..version import __version__
from .precision import precision_of


class LogHook(Hook):
    """Log the versions of packages, the implementation of the scan, precision and layout."""

    def before_train(self, runner: Runner) -> None:
        # Not earlier: with a strategy, the runner builds its model when it trains.
        versions = package_versions(runner.cfg).items()
        packages = ', '.join(f'{name} {version}' for name, version in versions)
        runner.logger.info(f'packages: {packages}')
        log_scan_backend(runner)
        layout = 'channels-last' if runner.cfg.get('channels_last') else 'contiguous'
        precision = precision_of(getattr(runner, 'optim_wrapper', None))
        runner.logger.info(f'training in {precision}, memory {layout}')


class _SeedHook(Hook):
    # Before every hook that may draw a random number.
    priority = 'VERY_HIGH'

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _set(self, number: int) -> None:
        set_random_seed((self.seed + number) % 2**32, diff_rank_seed=True)


class EpochSeedHook(_SeedHook):
    """Seed all random numbers anew at each epoch, from the run's seed and the epoch.

    mmengine stores no state of the random generators in a checkpoint. Without this hook, a
    resumed run would draw other samples and augmentations than a training that was not
    interrupted; with it, it draws the same, and its weights are the same bit by bit on a CPU.
    It needs data that are loaded in the main process, or by workers that do not persist.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        self._set(1000 * runner.epoch)


class IterationSeedHook(_SeedHook):
    """Seed all random numbers anew at each iteration, from the run's seed and the iteration.

    This is :class:`EpochSeedHook` for trainings that count iterations. It needs data that
    are loaded in the main process. mmengine 0.10.7 loads all earlier batches again when it
    resumes; there, the first batch after that is augmented in another way than in a training
    that was not interrupted.
    """

    def before_train_epoch(self, runner: Runner) -> None:
        # Called once; the first batch is loaded after it.
        if runner.iter:
            # An iterator draws a number when it is made, which an uninterrupted training did long
            # before; from this generator, it leaves the others as they are.
            runner.train_loop.dataloader.generator = torch.Generator()
        self._set(2 * runner.iter)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self._set(2 * runner.iter + 1)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        # The iteration is counted after this; then the next batch is loaded.
        runner.train_loop.dataloader.generator = None
        self._set(2 * (runner.iter + 1))

    def after_val(self, runner: Runner) -> None:
        # As if there had been none: a resumed training does not repeat it.
        self._set(2 * runner.iter)


def log_scan_backend(runner: Runner) -> None:
    """Say in one line which implementation of the scan the run uses."""
    for choice in scan_choices(runner.model):
        runner.logger.info(f'scan backend: {choice}')


def package_versions(cfg: Config) -> Dict[str, str]:
    """Versions of this package and of those that a config needs."""
    names = [name for name in ('torch', 'mmengine', 'mmcv', cfg.get('default_scope')) if name]
    versions = {name: str(environment.package_state(name).version) for name in names}
    return {'tinyvim_mm': __version__, **versions}


def scan_choices(model: nn.Module) -> List[str]:
    """Which implementation of the scan the layers of a model use, in words, each once."""
    layers = [module for module in model.modules() if isinstance(module, SS2D)]
    return sorted({describe_choice(layer.Ds, layer.backend) for layer in layers})
