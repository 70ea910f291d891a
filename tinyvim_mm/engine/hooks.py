"""Hooks of mmengine's Runner that the tools add."""

from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed


class EpochSeedHook(Hook):
    """Seed all random numbers anew at each epoch, from the run's seed and the epoch.

    mmengine stores no state of the random generators in a checkpoint, so a
    resumed run would draw other augmentations and samples than the run that
    was interrupted. With this hook it repeats that run, bit by bit on a CPU,
    provided that the data are loaded in the main process or by workers that do
    not persist.

    Args:
        seed: The run's seed.
    """

    # Before every hook that may draw a random number.
    priority = 'VERY_HIGH'

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_epoch(self, runner: Runner) -> None:
        set_random_seed((self.seed + 1000 * runner.epoch) % 2**32, diff_rank_seed=True)
