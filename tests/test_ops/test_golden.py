import golden
import pytest
from scan_cases import RUNNABLE

from tinyvim_mm.ops import ss2d

WEIGHTS = ('x_proj_weight', 'dt_projs_weight', 'dt_projs_bias', 'A_logs', 'Ds')


@pytest.mark.parametrize('backend', RUNNABLE)
@pytest.mark.parametrize('case', ['square', 'wide', 'long'])
def test_ss2d_agrees_with_the_released_operator(case, backend):
    data = golden.load('ss2d_op_golden')
    x = data[f'{case}/x'].requires_grad_()
    weights = [data[f'{case}/{name}'].requires_grad_() for name in WEIGHTS]

    y = ss2d(x, *weights, backend=backend).permute(0, 2, 3, 1)
    y.backward(golden.golden_input(f'{case}-cot', y.shape))

    golden.assert_close('y', y, data[f'{case}/y'], golden.FEATURE_LIMIT)
    for name, tensor in zip(('x', *WEIGHTS), (x, *weights), strict=True):
        expected = data[f'{case}/grad_{name}']
        golden.assert_close(f'grad {name}', tensor.grad, expected, golden.GRADIENT_LIMIT)
