"""torchrun as ``tools/dist_*.sh`` start it: one message where a process fails or is stopped.

``python -m tinyvim_mm.training.launching`` takes the arguments of ``torchrun``. It ends with the
exit code of the process that failed first, and prints no traceback of its own, since the process
has said what happened; of one that was killed it says so.
"""

import logging
import os
import signal
import sys
from typing import Any, Dict, Optional, Sequence, Tuple

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from ..core.errors import INTERRUPTED, SIGNALED

#: Seconds for a step and a checkpoint after SIGTERM; torchrun by itself kills after 30.
PATIENCE_S = 120


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Start the processes, and wait for their end.

    Args:
        argv: Arguments of ``torchrun``; ``None`` takes ``sys.argv``.

    Returns:
        The exit code: 0, that of the process that failed first, or 128 and the number of the
        signal that ended it, or this launcher.
    """
    _silence_torchrun()
    os.environ.setdefault('TORCH_ELASTIC_SHUTDOWN_TIMEOUT', str(PATIENCE_S))
    try:
        run.run(run.parse_args(argv))
    except SignalException as error:
        return SIGNALED + int(error.sigval)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ChildFailedError as error:
        rank, code = first_failure(error.failures)
        if code < 0:
            name = signal.Signals(-code).name
            reason = ', as the system does it when memory runs out' if name == 'SIGKILL' else ''
            print(
                f'process {rank} was ended by {name}{reason}; the others were stopped. --resume '
                'goes on from the last checkpoint',
                file=sys.stderr,
            )
        return code if code > 0 else SIGNALED - code
    return 0


def _silence_torchrun() -> None:
    """Hide what it says of every signal that it hands on; each of its modules has a logger."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(('torch.distributed.elastic', 'torch.distributed.run')):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def first_failure(failures: Dict[int, Any]) -> Tuple[int, int]:
    """Rank and exit code of the process that made the others fail.

    Torch looks at the processes ten times a second, and may find several at once. One that a
    signal ended comes first, but for SIGTERM, which torchrun sends; 1 comes last, with which the
    others end when they lose it.
    """

    def order(rank: int) -> Tuple[int, float]:
        code = failures[rank].exitcode
        kind = 2 if code == -signal.SIGTERM else 0 if code < 0 else 1 if code != 1 else 2
        return kind, failures[rank].timestamp

    rank = min(failures, key=order)
    return rank, failures[rank].exitcode


if __name__ == '__main__':
    sys.exit(main())
