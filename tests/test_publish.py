"""Weights alone, in a quarter of their size, and what is read from such files."""

import pytest
import torch

pytest.importorskip('safetensors.torch')

from safetensors.torch import save_file

from tinyvim_mm.commands import publish as command
from tinyvim_mm.core.errors import CheckpointError, UsageError
from tinyvim_mm.models import TinyViM
from tinyvim_mm.recipes import publish
from tinyvim_mm.weights import load_file, packing
from tinyvim_mm.weights.load import load_into

ARCH = {'embed_dims': (16, 24, 40, 56), 'depths': (1, 1, 3, 1)}


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return TinyViM(ARCH).eval()


@pytest.fixture
def checkpoint(model, tmp_path):
    path = tmp_path / 'epoch_9.pth'
    content = {
        'state_dict': model.state_dict(),
        'optimizer': {'state': {0: torch.zeros(10**5)}},
        'meta': {'epoch': 9, 'dataset_meta': {'classes': ('tench', 'church')}},
    }
    torch.save(content, path)
    return path


def test_a_published_file_is_read_as_any_other(model, checkpoint, tmp_path, capsys):
    output = tmp_path / 'small.safetensors'
    found = publish(checkpoint, output, config='tinyvim_s_300e_in1k')
    numbers = sum(v.numel() for k, v in model.state_dict().items() if 'num_batches' not in k)
    assert found['numbers'] == numbers
    assert found['bytes'] == output.stat().st_size < 0.6 * 4 * numbers
    assert 0 < found['error'] < 0.02
    assert f'{numbers:,} numbers' in capsys.readouterr().out
    content = load_file(str(output))
    assert content['meta'] == {
        'tinyvim_mm': content['meta']['tinyvim_mm'],
        'config': 'tinyvim_s_300e_in1k',
        'dataset_meta': {'classes': ['tench', 'church']},
    }
    assert 'optimizer' not in content
    other = TinyViM(ARCH).eval()
    load_into(other, content)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, got = model(x)[-1], other(x)[-1]
    assert 0 < (expected - got).norm() < 0.05 * expected.norm()


def test_without_packing_the_weights_stay_bit_for_bit(model, checkpoint, tmp_path):
    found = publish(checkpoint, tmp_path / 'whole.safetensors', packed=False)
    assert found['error'] == 0
    state = load_file(str(tmp_path / 'whole.safetensors'))['state_dict']
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())


def test_what_is_packed_and_how_well():
    torch.manual_seed(0)
    state = {
        'conv.weight': torch.randn(40, 8, 3, 3) * torch.logspace(-6, 6, 40)[:, None, None, None],
        'x_proj': torch.randn(4, 30, 16),
        'zeros': torch.zeros(64, 64),
        'bias': torch.randn(5000),
        'small': torch.randn(8, 8),
        'count': torch.tensor(7),
        'half': torch.randn(64, 64).half(),
    }
    packed = packing.pack(state)
    assert {key for key in packed if key.endswith('#scales')} == {
        f'{key}#scales' for key in ('conv.weight', 'x_proj', 'zeros', 'half')
    }
    assert len(packed['x_proj#scales']) == 120
    back = packing.unpack(packed)
    assert list(back) == list(state)
    for key in ('bias', 'small', 'count'):
        assert back[key] is state[key]
    assert not back['zeros'].any()
    for key in ('conv.weight', 'x_proj', 'half'):
        rows = packing._rows(state[key].float())
        error = (packing._rows(back[key]) - rows).abs().amax(1)
        assert (error <= rows.abs().amax(1) / 127 * 0.501).all(), key
    with pytest.raises(ValueError, match=r'conv.weight is not finite'):
        packing.pack({'conv.weight': torch.full((64, 64), torch.nan)})


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'w#scales': torch.ones(3)}, r'w has 64 rows, and scales of \(3,\)'),
        ({'w#scales': torch.ones(64, dtype=torch.float64)}, 'w has 64 rows'),
        ({'w': torch.ones(64, 64)}, 'w has scales, and is no packed tensor'),
        ({'v#scales': torch.ones(64)}, 'v#scales belongs to no tensor'),
        ({'w#scales': torch.full((64,), torch.nan)}, r'NaN|not finite'),
    ],
)
def test_damaged_files_are_refused(changes, words, tmp_path):
    tensors = {'w': torch.ones(64, 64, dtype=torch.int8), 'w#scales': torch.ones(64), **changes}
    save_file(tensors, tmp_path / 'x.safetensors', {packing.NOTE: packing.INT8_ROWS})
    with pytest.raises(CheckpointError, match=words):
        load_file(str(tmp_path / 'x.safetensors'))


def test_another_packing_is_refused(tmp_path):
    save_file({'w': torch.ones(3)}, tmp_path / 'x.safetensors', {packing.NOTE: 'int4'})
    with pytest.raises(CheckpointError, match="packed as 'int4', which this version does not"):
        load_file(str(tmp_path / 'x.safetensors'))


def test_outputs_that_cannot_be(checkpoint, tmp_path):
    with pytest.raises(UsageError, match=r'must end in \.safetensors'):
        publish(checkpoint, tmp_path / 'x.pth')
    (tmp_path / 'x.safetensors').touch()
    with pytest.raises(UsageError, match='exists; choose another name or give --overwrite'):
        publish(checkpoint, tmp_path / 'x.safetensors')
    with pytest.raises(UsageError, match='does not exist; make it'):
        publish(checkpoint, tmp_path / 'none' / 'x.safetensors')
    with pytest.raises(UsageError, match=r'nothing\.pth'):
        publish(tmp_path / 'nothing.pth', tmp_path / 'y.safetensors')


def test_the_command(checkpoint, tmp_path, capsys):
    output = tmp_path / 'x.safetensors'
    command.main([str(checkpoint), str(output)])
    assert 'MB for' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main([str(checkpoint), str(output)])
    command.main([str(checkpoint), str(output), '--overwrite', '--no-packed'])
    assert load_file(str(output))['meta']['dataset_meta'] == {'classes': ['tench', 'church']}
