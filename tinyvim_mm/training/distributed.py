"""Training on several devices: process groups on a CPU, and what shards a model."""

import os
from contextlib import contextmanager
from typing import Iterator

from mmengine.config import Config
from mmengine.logging import print_log
from torch import distributed

from ..core import environment
from ..core.errors import UNFORESEEN, MachineError, UsageError

# What gloo and NCCL write when the other end is gone, or does not answer.
_LOST = ('Connection closed by', 'Connection reset by', 'Broken pipe', 'Timed out waiting')


class LostProcessError(UsageError):
    """Another process of this training has ended, or does not answer."""

    exit_code = UNFORESEEN


def prepare_launcher(cfg: Config, launcher: str) -> None:
    """Let a config run under one of mmengine's launchers: none, pytorch, slurm, mpi.

    On a machine with an accelerator mmengine does it all. Without one it fails,
    because it chooses a CUDA device for each process; there the processes of
    ``--launcher pytorch`` are connected here, by gloo, and their batch norms stay plain
    ones, which is enough to try a distributed training on a CPU.

    Raises:
        UsageError: The launcher does not work on this machine, or did not start the tool.
    """
    cfg.launcher = launcher
    if launcher == 'pytorch' and 'WORLD_SIZE' not in os.environ:
        raise UsageError(
            '--launcher pytorch is for processes that torchrun starts, and WORLD_SIZE is not '
            'set: use tools/dist_train.sh or tools/dist_test.sh, which call it, or leave out '
            '--launcher'
        )
    if launcher == 'none' or environment.accelerator() is not None:
        return
    if launcher != 'pytorch':
        raise MachineError(
            f'--launcher {launcher} needs an accelerator ({", ".join(environment.ACCELERATORS)}), '
            'and this machine has none that torch can see; on a CPU, tools/dist_train.sh and '
            'tools/dist_test.sh work, and both tools without --launcher'
        )
    _connect_cpu_processes(cfg)


@contextmanager
def naming_lost_processes() -> Iterator[None]:
    """Raise what the loss of another process causes as :class:`LostProcessError`."""
    try:
        yield
    except RuntimeError as error:
        together = distributed.is_initialized() and distributed.get_world_size() > 1
        lost = isinstance(error, distributed.DistError) or any(word in str(error) for word in _LOST)
        if not (together and lost):
            raise
        raise LostProcessError(
            f'process {distributed.get_rank()} ends, because another process of this training '
            'ended or does not answer; what that one says comes first. --resume goes on from the '
            f'last checkpoint ({(str(error).splitlines() or [type(error).__name__])[0]})'
        ) from error


def is_first_process(launcher: str) -> bool:
    """Whether this process is the first of a run, also before the processes are connected."""
    variables = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}
    return launcher == 'none' or int(os.environ.get(variables[launcher], '0')) == 0


def _connect_cpu_processes(cfg: Config) -> None:
    if not distributed.is_initialized():
        distributed.init_process_group('gloo')
    # mmengine would give the model to the CUDA device of the process's number.
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
    if cfg.get('sync_bn'):
        print_log(
            f'sync_bn={cfg.sync_bn!r} needs an accelerator: on this CPU each process normalizes '
            'its own images',
            logger='current',
        )
        cfg.sync_bn = None
