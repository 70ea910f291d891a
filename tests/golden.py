"""Numbers of the released networks to compare with, and how their weights were filled.

The stored outputs were computed by the released networks, TinyViM in float32 with
a float64 scan, MobileMamba in float64. The weights are no trained ones: each tensor
is a function of its released key and its shape, which :func:`golden_tensor` repeats.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parent / 'data' / 'golden'

#: Relative L2 errors above which something is wrong.
FEATURE_LIMIT = 1e-5
GRADIENT_LIMIT = 5e-5


def load(name):
    """Arrays of one file, as tensors."""
    with np.load(FOLDER / f'{name}.npz') as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def released_keys(arch, part='classification', family='tinyvim'):
    """Released key to shape; ``part`` is ``'classification'`` or ``'dense_norms'``."""
    keys = json.loads((FOLDER / f'{family}_{arch}_keys.json').read_text())
    return {key: tuple(shape) for key, shape in keys.get(part, {}).items()}


def released_state_dict(arch, dense_norms=True, family='tinyvim'):
    """A checkpoint in the released layout, filled with golden values."""
    keys = released_keys(arch, family=family)
    if dense_norms:
        keys.update(released_keys(arch, 'dense_norms', family))
    return {key: torch.from_numpy(golden_tensor(key, shape)) for key, shape in keys.items()}


def golden_input(name, shape):
    """Standard-normal values that depend on name and shape."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return torch.from_numpy(rng.standard_normal(tuple(shape)).astype(np.float32))


def golden_tensor(key, shape):
    """Value of one entry of a checkpoint in the released layout."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    leaf = key.rsplit('.', 1)[-1]
    if leaf == 'num_batches_tracked':
        return np.asarray(7, dtype=np.int64)
    if leaf == 'running_var':
        value = rng.uniform(0.5, 1.5, shape)
    elif leaf == 'running_mean':
        value = 0.1 * rng.standard_normal(shape)
    elif leaf == 'A_logs':
        value = np.log(np.arange(1, shape[1] + 1)) + 0.2 * rng.standard_normal(shape)
    elif leaf == 'Ds':
        value = 1 + 0.3 * rng.standard_normal(shape)
    elif leaf == 'dt_projs_bias':
        dt = np.exp(rng.uniform(np.log(0.05), np.log(1.0), shape))
        value = dt + np.log(-np.expm1(-dt))
    elif leaf in ('wt_filter', 'iwt_filter'):  # constants of MobileMamba, from the Haar wavelet
        pairs = [[1, 1], [1, -1]]
        filters = [0.5 * np.outer(rows, columns) for columns in pairs for rows in pairs]
        value = np.tile(np.stack(filters)[:, None], (shape[0] // 4, 1, 1, 1))
    elif '.base_scale.' in key:
        value = 1 + 0.3 * rng.standard_normal(shape)
    elif '.wavelet_scale.' in key:
        value = 0.2 + 0.1 * rng.standard_normal(shape)
    elif key.endswith('.global_atten.in_proj.bn.weight'):
        value = rng.uniform(1.0, 2.5, shape)
    elif leaf == 'layer_scale':
        value = rng.uniform(0.2, 0.6, shape)
    elif leaf == 'bias':
        value = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1:  # weights of norms
        value = rng.uniform(0.3, 0.8, shape)
    else:
        fan_in = np.prod(shape[1:])
        if leaf in ('x_proj_weight', 'dt_projs_weight'):
            fan_in = shape[-1] / 9
        value = rng.standard_normal(shape) / np.sqrt(fan_in)
    return value.astype(np.float32)


def relative_error(actual, expected):
    """Relative L2 error."""
    actual, expected = actual.detach().double(), expected.detach().double()
    return ((actual - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def assert_close(name, actual, expected, limit):
    """Fail with a message that names the tensor and its error."""
    assert actual.shape == expected.shape, f'{name}: {actual.shape} against {expected.shape}'
    error = relative_error(actual, expected)
    assert error <= limit, f'{name}: relative L2 error {error:.2e} exceeds {limit:.0e}'
