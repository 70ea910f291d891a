"""Images per second of several networks, taking turns in one process."""

import copy
from contextlib import contextmanager
from itertools import product
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from ..measuring.timing import Timing, compile_whole, seconds_per_call, time_in_turns
from ..models import CUDAGraphs

PRECISIONS = ('fp32', 'tf32', 'bf16')
FORMS = ('eager', 'compiled', 'cuda-graph')


class Setting(NamedTuple):
    """The setting under which networks are compared.

    Attributes:
        batch: Images at a time.
        precision: ``'fp32'`` (TF32 off), ``'tf32'`` or ``'bf16'`` (weights too).
        form: ``'eager'``, ``'compiled'`` (``torch.compile``) or ``'cuda-graph'``.
    """

    batch: int
    precision: str = 'fp32'
    form: str = 'eager'

    def __str__(self) -> str:
        return f'batch {self.batch}, {self.precision}, {self.form}'


def settings_for(
    device: torch.device,
    task: str,
    batches: Optional[List[int]] = None,
    precisions: Optional[List[str]] = None,
    forms: Optional[List[str]] = None,
    on_cpu: Optional[Sequence[int]] = None,
) -> List[Setting]:
    """What is measured by default: much on a GPU, little on a CPU.

    Args:
        device: Where it is measured.
        task: Of the table.
        batches: Batch sizes; ``None`` takes 1 and 256 on a GPU (1 and 8 for dense tasks), 1
            and 16 on a CPU (1 for dense tasks).
        precisions: Of :data:`PRECISIONS`; ``None`` takes all on a GPU, fp32 on a CPU.
        forms: Of :data:`FORMS`; ``None`` takes all for classification on a GPU, else eager.
        on_cpu: Batch sizes on a CPU instead of those of the task.
    """
    if device.type == 'cuda':
        batches = batches or ([1, 256] if task == 'classification' else [1, 8])
        precisions = precisions or list(PRECISIONS)
        forms = forms or list(FORMS if task == 'classification' else FORMS[:1])
    else:
        batches = batches or on_cpu or ([1, 16] if task == 'classification' else [1])
        precisions, forms = precisions or ['fp32'], forms or ['eager']
    every = map(Setting._make, product(batches, precisions, forms))
    # A graph pays where launches are what takes the time.
    return [setting for setting in every if setting.form != 'cuda-graph' or setting.batch == 1]


def measure(
    models: Dict[str, nn.Module],
    size: Tuple[int, int],
    setting: Setting,
    device: torch.device,
    rounds: int,
) -> Tuple[Dict[str, Timing], Dict[str, str]]:
    """Time copies of networks in turns: a busy moment of the machine hits all alike.

    Each runs in the memory format, contiguous or channels-last, in which a first try is faster;
    in bf16 in channels-last.

    Returns:
        Times of one batch by name, and why others could not be measured.
    """
    contenders: Dict[str, Callable[[], object]] = {}
    failed: Dict[str, str] = {}
    x = torch.rand(setting.batch, 3, *size, device=device)
    with _tf32(setting.precision == 'tf32'), torch.no_grad():
        for name, model in models.items():
            print(f'    {name}: {setting}', flush=True)
            try:
                contenders[name] = _prepare(model, x, setting)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                failed[name] = f'{type(error).__name__}: {str(error).splitlines()[0][:200]}'
        print(f'    timing {len(contenders)} networks, {setting}, {rounds} rounds', flush=True)
        times = time_in_turns(contenders, device, rounds, 0.3) if contenders else {}
    return times, failed


def _prepare(model: nn.Module, x: Tensor, setting: Setting) -> Callable[[], object]:
    dtype = torch.bfloat16 if setting.precision == 'bf16' else torch.float32
    model = copy.deepcopy(model).to(x.device, dtype)
    x = x.to(dtype)

    def eager(memory_format: torch.memory_format) -> Callable[[], object]:
        network = copy.deepcopy(model).to(memory_format=memory_format)
        images = x.to(memory_format=memory_format)
        if setting.form == 'compiled':
            network = compile_whole(network)
        elif setting.form == 'cuda-graph':
            network = CUDAGraphs(network)

        def run() -> object:
            with torch.no_grad():  # of the thread that calls
                return network(images)

        return run

    run = eager(torch.channels_last)
    run()
    if dtype == torch.bfloat16 or setting.form == 'compiled':
        return run
    other = eager(torch.contiguous_format)
    other()
    return min((run, other), key=lambda f: min(seconds_per_call(f, 1, x.device) for _ in range(2)))


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
