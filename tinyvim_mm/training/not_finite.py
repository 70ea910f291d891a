"""Losses that are NaN or infinite: said when it begins, and again at the end."""

import math
from typing import Any, Dict, List, Optional

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..core.errors import PartlyFailedError

#: Where the hub that is saved in checkpoints, and so survives a resume, keeps the step.
SINCE = 'losses_not_finite_since'


class NotFiniteHook(Hook):
    """Notes since which step the losses are not finite.

    It looks at the numbers that mmengine has fetched from the device for its log, at every step,
    so that it waits for nothing.
    """

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        found = _not_finite(runner, outputs or {})
        since = not_finite_since(runner)
        if not found and since is not None:
            runner.message_hub.pop_info(SINCE)
            runner.logger.warning(f'iteration {runner.iter + 1}: the losses are finite again')
        elif found and since is None:
            runner.message_hub.update_info(SINCE, runner.iter + 1)
            runner.logger.warning(
                f'iteration {runner.iter + 1}: not finite: {", ".join(found)}. --detect-anomaly '
                'names the layer'
            )


def not_finite_since(runner: Runner) -> Optional[int]:
    """Step since which the losses are not finite, from 1; ``None`` if they are."""
    return runner.message_hub.runtime_info.get(SINCE)


def refuse_not_finite_end(runner: Runner) -> None:
    """Raise if the last losses of a training are not finite.

    Raises:
        PartlyFailedError: The message says since which step.
    """
    since = not_finite_since(runner)
    if since is not None:
        raise PartlyFailedError(
            f'the losses are not finite since iteration {since} of {runner.iter}: what was trained '
            'from there on is lost. Go on from a checkpoint before it with a lower learning rate, '
            'or clip gradients (optim_wrapper.clip_grad); --detect-anomaly names the '
            'layer in which it begins'
        )


def _not_finite(runner: Runner, outputs: Dict[str, Any]) -> List[str]:
    """Losses of the last step that are not finite, with their values."""
    scalars = runner.message_hub.log_scalars
    values = {
        name: scalars[f'train/{name}'].current()
        for name in outputs
        if 'loss' in name and f'train/{name}' in scalars
    }
    return [f'{name} = {value}' for name, value in values.items() if not math.isfinite(value)]
