"""Mixed precision and the layout of memory: what a training is told, and what it did."""

from pathlib import Path
from typing import Optional

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from ..core import environment
from ..core.devices import computes_in_bfloat16
from ..core.errors import UsageError
from ..optim import CPUAmpOptimWrapper
from ..records.run_record import FILE, read_record

#: Type of the optimizer wrapper of mixed precision on a CPU.
CPU_WRAPPER = 'tinyvim_mm.CPUAmpOptimWrapper'


def apply_amp(cfg: Config) -> None:
    """Let a config train in mixed precision: on a CPU in bfloat16, else as mmengine does."""
    if environment.accelerator() is None:
        cfg.optim_wrapper.type = CPU_WRAPPER
        if not computes_in_bfloat16():
            print_log(
                '--amp: this CPU has no instructions for bfloat16 that torch knows; without '
                '--amp the training is probably faster',
                logger='current',
                level='WARNING',
            )
        return
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def choose_layout(cfg: Config, wanted: Optional[bool], strategy: str) -> None:
    """Decide whether a config trains channels-last.

    What the caller wants comes first, then the config's ``channels_last``, then how the training
    began that is resumed, then what the device is known to prefer.

    Args:
        cfg: Changed in place: its ``channels_last`` is set.
        wanted: ``None`` leaves it to the others.
        strategy: Of the training.

    Raises:
        UsageError: Wanted, and the strategy keeps parameters in a layout of its own.
    """
    wanted = cfg.get('channels_last') if wanted is None else wanted
    if wanted and strategy != 'ddp':
        raise UsageError(
            f'--channels-last does not go with --strategy {strategy}, which keeps the parameters '
            'in a layout of its own'
        )
    if wanted is None and strategy == 'ddp':
        wanted = _layout_before(cfg) if cfg.get('resume') else None
        if wanted is None:
            wanted = environment.accelerator() is None
    cfg.channels_last = bool(wanted)


def _layout_before(cfg: Config) -> Optional[bool]:
    """How the latest run trained whose checkpoints lie beside the one to resume."""
    for file in sorted(Path(str(cfg.load_from)).parent.glob(f'*/{FILE}'), reverse=True):
        try:
            return read_record(file.parent).channels_last
        except ValueError:
            continue  # damaged, or of another version
    return None


def precision_of(wrapper: Optional[OptimWrapper]) -> str:
    """Type of the numbers in which a training multiplies, as torch calls it."""
    if isinstance(wrapper, CPUAmpOptimWrapper):
        return 'bfloat16'
    if isinstance(wrapper, AmpOptimWrapper):
        return str(wrapper.cast_dtype or 'float16').rpartition('.')[2]
    return 'float32'
