"""Every backend of the scan that runs here, against the sequential form in float64."""

from typing import List, Sequence

from .finding import FAULT, NOTE, OK, Finding, first_line

#: Relative L2 error of result and gradients in float32 above which a backend is wrong.
#: TensorFloat-32 and other orders of summation stay far below it, wrong kernels do not.
_LIMIT = 1e-3
_SHAPE = (2, 12, 6, 5)  # batch, d, H, W
_R, _N = 3, 8


def check_scan() -> List[Finding]:
    """Compute result and gradients with each backend on each device."""
    import torch

    from ..ops import available_backends
    from ..ops.backends import KERNELS

    findings = []
    for device in ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]:
        kernels = KERNELS[device]
        obstacles = available_backends(device)
        slow = all(obstacles[name] is not None for name in kernels)
        for name, obstacle in obstacles.items():
            subject = f'scan {name} on {device}'
            if obstacle is None:
                findings.append(_compare(subject, name, device))
            elif name in kernels:
                detail = ('the scan is slow here: ' if slow else '') + obstacle.reason
                findings.append(Finding(subject, FAULT if slow else NOTE, detail, obstacle.cure))
    return findings


def _compare(subject: str, backend: str, device: str) -> Finding:
    from ..ops.backends import ENVIRONMENT_VARIABLE, compiled

    try:
        error = _relative_error(backend, device)
        if error < _LIMIT:  # not if it is not a number
            detail = f'relative error {error:.1e} against float64, with gradients'
            return Finding(subject, OK, detail)
        problem = f'computes wrongly: relative error {error:.1e} against float64'
    except Exception as failure:  # noqa: BLE001 - reported, not swallowed
        problem = f'fails: {first_line(failure)}'
    # The kernels carry the name of their device.
    slow = f'{ENVIRONMENT_VARIABLE}=reference, which is slow'
    return Finding(subject, FAULT, problem, compiled.BUILD if backend == device else slow)


def _relative_error(backend: str, device: str) -> float:
    """Largest relative L2 error of the result and the gradients."""
    import torch

    from ..ops import ss2d

    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    d, K = _SHAPE[1], 4
    arguments = (
        normal(*_SHAPE),
        normal(K, _R + 2 * _N, d) / d**0.5,
        normal(K, d, _R) / _R**0.5,
        normal(K, d) - 2,
        normal(K * d, _N).abs(),
        normal(K * d),
    )
    cotangent = normal(*_SHAPE)

    def run(name: str, where: str, dtype: torch.dtype) -> Sequence[torch.Tensor]:
        leaves = [a.to(where, dtype).requires_grad_() for a in arguments]
        y = ss2d(*leaves, backend=name)
        y.backward(cotangent.to(where, dtype))
        return [t.detach().cpu().double() for t in (y, *(leaf.grad for leaf in leaves))]

    actual = run(backend, device, torch.float32)
    expected = run('reference', 'cpu', torch.float64)
    return max(float((a - e).norm() / e.norm()) for a, e in zip(actual, expected, strict=True))
