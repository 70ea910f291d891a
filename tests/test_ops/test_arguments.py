"""What the operators refuse, and how a backend is chosen."""

import platform
import re
import warnings

import pytest
import torch

from tinyvim_mm.ops import (
    BackendUnavailableError,
    Obstacle,
    available_backends,
    backends,
    describe_choice,
    scan_skipping,
    selective_scan,
    ss2d,
)


def scan_arguments():
    return {
        'u': torch.randn(2, 6, 5),
        'delta': torch.randn(2, 6, 5),
        'A': torch.randn(6, 3),
        'B': torch.randn(2, 2, 3, 5),
        'C': torch.randn(2, 2, 3, 5),
    }


def ss2d_arguments():
    return {
        'x': torch.randn(1, 4, 3, 3),
        'x_proj_weight': torch.randn(4, 2 + 2 * 8, 4),
        'dt_projs_weight': torch.randn(4, 4, 2),
        'dt_projs_bias': torch.randn(4, 4),
        'A_logs': torch.randn(16, 8),
        'Ds': torch.randn(16),
    }


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('u', torch.randn(6, 5), r'u must have shape \(batch, dim, L\), got \(6, 5\)'),
        ('delta', torch.randn(2, 6, 4), r'delta must have shape .*L = 5.*got \(2, 6, 4\)'),
        ('A', torch.randn(5, 3), r'A must have shape \(dim = 6, N\)'),
        ('B', torch.randn(2, 2, 4, 5), r'B must have shape .*N = 3'),
        ('C', torch.randn(2, 4, 3, 5), r'C has 4 groups, which do not divide dim = 6'),
        ('D', torch.randn(5), r'D must have shape \(dim = 6\)'),
    ],
)
def test_selective_scan_names_the_argument_that_does_not_fit(name, value, message):
    with pytest.raises(ValueError, match=message):
        selective_scan(**{**scan_arguments(), name: value})


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('x', torch.randn(4, 3, 3), r'x must have shape \(batch, d, H, W\)'),
        ('x_proj_weight', torch.randn(3, 18, 4), r'x_proj_weight must have shape \(K = 4'),
        ('A_logs', torch.randn(16, 7), r'x_proj_weight must have shape .*R \+ 2N = 16'),
        ('dt_projs_weight', torch.randn(4, 3, 2), r'dt_projs_weight must have shape .*d = 4'),
        ('Ds', torch.randn(4, 4), r'Ds must have shape \(K \* d = 16\)'),
    ],
)
def test_ss2d_names_the_argument_that_does_not_fit(name, value, message):
    with pytest.raises(ValueError, match=message):
        ss2d(**{**ss2d_arguments(), name: value})


def test_integers_and_complex_numbers_are_refused():
    with pytest.raises(TypeError, match=r'x must be of a real floating type, got torch\.int64'):
        ss2d(**{**ss2d_arguments(), 'x': torch.ones(1, 4, 3, 3, dtype=torch.long)})
    with pytest.raises(TypeError, match=r'A must be of a real floating type, got torch\.complex64'):
        selective_scan(**{**scan_arguments(), 'A': torch.randn(6, 3, dtype=torch.complex64)})


def test_no_tensor_is_refused():
    with pytest.raises(TypeError, match='Ds must be a tensor, got list'):
        ss2d(**{**ss2d_arguments(), 'Ds': [1.0] * 16})


def test_mixed_devices_are_refused():
    with pytest.raises(ValueError, match='Ds is on meta, but x is on cpu'):
        ss2d(**{**ss2d_arguments(), 'Ds': torch.empty(16, device='meta')})


TABLE = torch.arange(9).expand(4, 9)


@pytest.mark.parametrize(
    ('paths', 'error', 'message'),
    [
        (TABLE.float(), TypeError, r'paths must be of an integer type, got torch\.float32'),
        (TABLE.bool(), TypeError, r'paths must be of an integer type, got torch\.bool'),
        ([0, 1, 2, 3], TypeError, r'paths must hold ScanPath objects or be .*, got int'),
        (TABLE[:, :8], ValueError, r'paths must have shape \(K, H \* W = 9\), got \(4, 8\)'),
        (TABLE[0], ValueError, r'paths must have shape \(K, H \* W = 9\), got \(9,\)'),
        (TABLE[:3], ValueError, r'dt_projs_weight must have shape \(K = 3'),
        (TABLE.to('meta'), ValueError, 'paths is on meta, but x is on cpu'),
        (TABLE + 1, ValueError, r'row 0 of paths holds 9, but .* are 0 to 8'),
        (TABLE - 1, ValueError, r'row 0 of paths holds -1, but .* are 0 to 8'),
        (TABLE % 8, ValueError, r'row 0 of paths must hold .* holds 0 2 times and 8 not at all'),
    ],
)
@pytest.mark.parametrize('backend', ['reference', None])
def test_a_wrong_table_is_refused(paths, error, message, backend):
    with pytest.raises(error, match=f'^ss2d: .*{message}'):
        ss2d(**ss2d_arguments(), paths=paths, backend=backend)


def test_a_table_that_was_right_is_checked_again_once_it_is_changed():
    table = TABLE.clone()
    ss2d(**ss2d_arguments(), paths=table)
    table[3, 0] = 5
    with pytest.raises(ValueError, match='row 3 of paths must hold each position once'):
        ss2d(**ss2d_arguments(), paths=table)
    with torch.inference_mode():
        table = TABLE.clone()
        ss2d(**ss2d_arguments(), paths=table)
        table[2, 0] = 5
        with pytest.raises(ValueError, match='row 2 of paths must hold each position once'):
            ss2d(**ss2d_arguments(), paths=table)


def test_a_wrong_table_of_skip_sampled_grids_is_refused():
    x, *weights = ss2d_arguments().values()
    with pytest.raises(ValueError, match=r'^scan_skipping: paths must have shape .* = 4\), got'):
        scan_skipping(ss2d, x, *weights, TABLE)
    with pytest.raises(ValueError, match=r'^scan_skipping: row 0 of paths holds 4'):
        scan_skipping(ss2d, x, *weights, TABLE[:, 1:5])


def test_unknown_backend_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"backend='fast' is no scan backend.*auto.*reference"):
        ss2d(**ss2d_arguments(), backend='fast')


def test_environment_variable_chooses_the_backend(monkeypatch):
    monkeypatch.setenv('TINYVIM_SSM_BACKEND', 'nonsense')
    with pytest.raises(ValueError, match="TINYVIM_SSM_BACKEND='nonsense' is no scan backend"):
        ss2d(**ss2d_arguments())
    ss2d(**ss2d_arguments(), backend='reference')  # the call's choice wins


def test_pure_pytorch_backends_run_everywhere():
    backends = available_backends('cpu')
    assert backends['parallel'] is None
    assert backends['reference'] is None


def test_the_choice_can_be_told(monkeypatch):
    x = torch.randn(1, 4, 3, 3)
    assert describe_choice(x, 'parallel') == 'parallel'
    monkeypatch.setenv('TINYVIM_SSM_BACKEND', 'reference')
    assert describe_choice(x) == 'reference'
    monkeypatch.delenv('TINYVIM_SSM_BACKEND')
    if available_backends('cpu')['cpu'] is None:
        # On Linux every supported compiler has OpenMP; without it the scan has one thread.
        single = '' if platform.system() == 'Linux' else '(, one thread)?'
        assert re.fullmatch(rf'cpu \(compiled, \w+{single}\)', describe_choice(x))


def test_slow_path_is_announced_once(monkeypatch):
    monkeypatch.setattr(backends, '_announced', set())
    monkeypatch.setattr(backends.compiled, 'LIBRARY_PROBLEM', Obstacle('it was not compiled'))
    with pytest.warns(UserWarning, match="plain PyTorch.*'cpu' backend cannot run: it was not"):
        ss2d(**ss2d_arguments())
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        ss2d(**ss2d_arguments())


def test_unavailable_backend_names_reason_and_cure(monkeypatch):
    obstacle = Obstacle('not compiled', 'do this')
    monkeypatch.setattr(backends.compiled, 'LIBRARY_PROBLEM', obstacle)
    message = "'cpu' cannot run here: not compiled; do this"
    with pytest.raises(BackendUnavailableError, match=message) as caught:
        ss2d(**ss2d_arguments(), backend='cpu')
    assert caught.value.obstacle == available_backends('cpu')['cpu'] == obstacle
    with pytest.raises(BackendUnavailableError, match=r"'cuda' cannot run here: .* on cpu"):
        ss2d(**ss2d_arguments(), backend='cuda')


def test_library_of_another_torch_is_named(monkeypatch, tmp_path):
    library = tmp_path / '_C.so'
    library.write_bytes(b'no library, but it says: tinyvim_mm operators for torch 1.2.3\0')
    monkeypatch.setattr(backends.compiled, '_PACKAGE', tmp_path)
    problem = backends.compiled._load_library()
    assert '_C.so was compiled for torch 1.2.3 and does not load with torch' in problem.reason
    assert str(problem) == f'{problem.reason}: {problem.cure}'
    library.unlink()
    assert 'the operators were not compiled' in backends.compiled._load_library().reason
