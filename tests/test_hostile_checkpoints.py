"""Checkpoint files made to exhaust memory, to run code, or to spoil a run unnoticed."""

import _codecs
import contextlib
import copy
import io
import json
import pickle
import struct
import warnings as std_warnings
import zipfile

import numpy as np
import pytest
import torch
from fuzzing import EDITS, mutate
from hypothesis import HealthCheck, given, settings

from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.weights import files as checkpoint
from tinyvim_mm.weights.files import load_file

WEIGHTS = {'a.weight': torch.arange(6.0).reshape(2, 3), 'a.bias': torch.ones(2).half()}


@pytest.fixture
def warnings(monkeypatch):
    messages = []
    monkeypatch.setattr(
        checkpoint, 'print_log', lambda message, logger, level: messages.append(message)
    )
    return messages


def rewritten(content, records=(), compression=zipfile.ZIP_STORED):
    """A checkpoint whose zip records were replaced."""
    saved, result = io.BytesIO(), io.BytesIO()
    torch.save(content, saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(result, 'w', compression) as new:
        for name in old.namelist():
            data = old.read(name)
            for end, change in records:
                data = change(data) if name.endswith(end) else data
            new.writestr(name, data)
    return result.getvalue()


@contextlib.contextmanager
def warnings_off():
    with std_warnings.catch_warnings():
        std_warnings.simplefilter('ignore')
        yield


def safetensors(header, data=b''):
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + data


class Made:
    """Pickled as a call of what torch takes for plain data."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def doubled(times):
    """Bytes that double with each call."""
    value = b'a'
    for _ in range(times):
        value = Made(_codecs.encode, value, 'hex')
    return value


def overlapping():
    """A zip whose directory names one record ten times."""
    result = io.BytesIO()
    with zipfile.ZipFile(result, 'w') as archive:
        archive.writestr('x/data/0', bytes(1000))
        for number in range(1, 10):
            again = copy.copy(archive.filelist[0])
            again.filename = f'x/data/{number}'
            archive.filelist.append(again)
    return result.getvalue()


def renamed(content, old, new):
    """An archive of which a record has another name; torch compares names without their case."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(result, 'w') as after:
        for name in before.namelist():
            after.writestr(name.replace(old, new), before.read(name))
    return result.getvalue()


def behind_a_pickle(pickled):
    """A file in torch's old format to torch, and an archive to those that look at its end."""
    stream, archive = io.BytesIO(), io.BytesIO()
    torch.save({}, stream, _use_new_zipfile_serialization=False)
    old = stream.getvalue()
    with zipfile.ZipFile(archive, 'w') as records:
        records.writestr('x', b'')
    body = pickle.dumps({}, 2)
    assert old.count(body) == 1
    return old.replace(body, pickled) + archive.getvalue()


def bombs():
    huge = torch.zeros(1).expand(10**6, 10**6)
    legacy = io.BytesIO()
    torch.save({'a': torch.zeros(5)}, legacy, _use_new_zipfile_serialization=False)
    # The number of elements, in the pickle of the old format.
    grown = legacy.getvalue().replace(b'cpuq\x06K\x05', b'cpuq\x06\x8a\x06\0\0\0\0\0\x7f')
    return {
        'stride 0.pth': (rewritten({'state_dict': {'a': huge}}), r'its tensor a claims the shape'),
        'nested.pth': (rewritten({'x': [{'y': huge}]}), r'its tensor x\.0\.y claims the shape'),
        'deflated.pth': (
            rewritten({'a': torch.zeros(10**6)}, compression=zipfile.ZIP_DEFLATED),
            'unpacks to 4,000,000 bytes, more than',
        ),
        'sum.pth': (
            rewritten({f'k{i}': torch.zeros(1).expand(8, 10**6) for i in range(300)}),
            r'its tensors up to k2 claim 96,000,000 bytes together',
        ),
        'sum of one memory.pth': (
            rewritten({f'k{i}': huge[0, :1].expand(8 * 10**6 + i) for i in range(300)}),
            r'its tensors up to k2 claim 96,000,0\d\d bytes together',
        ),
        'made.pth': (rewritten({'a': Made(torch.Tensor, 10**8)}), 'its tensor a claims the shape'),
        'no values.pth': (
            rewritten({'a': torch.zeros(2, device='meta')}),
            'a has a shape, and no values',
        ),
        'bytearray.pth': (rewritten({'a': Made(bytearray, 10**9)}), 'makes a bytearray'),
        'bytearray.pickle.pth': (pickle.dumps(Made(bytearray, 10**9), 2), 'makes a bytearray'),
        'bytearray.case.pth': (
            renamed(rewritten({'a': Made(bytearray, 10**9)}), 'data.pkl', 'DATA.PKL'),
            'makes a bytearray',
        ),
        'bytearray.two formats.pth': (
            behind_a_pickle(pickle.dumps({'a': Made(bytearray, 10**9)}, 2)),
            'makes a bytearray',
        ),
        'hex.pth': (rewritten({'a': doubled(10)}), 'could execute code|_codecs.encode'),
        'overlap.pth': (overlapping(), r'its 10 records unpack to 10,000 bytes, more'),
        'short record.pth': (
            rewritten({'a': torch.zeros(1000)}, [('data/0', lambda data: data[:40])]),
            'is damaged',
        ),
        'legacy.pth': (grown, 'is damaged'),
        'offsets.safetensors': (
            safetensors({'a': {'dtype': 'F32', 'shape': [10**9], 'data_offsets': [0, 4 * 10**9]}}),
            'is damaged',
        ),
        'shape.safetensors': (
            safetensors({'a': {'dtype': 'F32', 'shape': [10**9], 'data_offsets': [0, 4]}}, b'1234'),
            'is damaged',
        ),
        'header.safetensors': (struct.pack('<Q', 2**62) + b'{}', 'is damaged'),
        'order.safetensors': (
            safetensors({'__metadata__': {'key_order': '[' * 10**5}}),
            'is damaged',
        ),
    }


@pytest.mark.parametrize('name', bombs())
def test_small_files_that_claim_huge_contents(name, tmp_path):
    if name.endswith('.safetensors'):
        pytest.importorskip('safetensors')
    content, words = bombs()[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as error:
        load_file(str(path))
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    'value',
    [
        Made(np.ndarray, (1,), 'O', b'8 bytes.'),
        Made(np.ndarray, (1,), Made(np.dtype, 'O'), b'8 bytes.'),
        Made(np.ndarray, (10**8,), 'f8'),
        Made(np.dtype, [('a', 'O')]),
        Made(np.dtype, 'V1000000000'),
    ],
    ids=['object', 'object type', 'huge', 'record', 'void'],
)
def test_arrays_that_hold_more_than_numbers_are_not_made(value, tmp_path):
    path = tmp_path / 'x.pth'
    path.write_bytes(rewritten({'a': value}))
    with pytest.raises(CheckpointError, match=r'pickled object \(numpy\.(ndarray|dtype)\)'):
        load_file(str(path))


@pytest.mark.parametrize('kind', ['f8', 'f4', 'i8', 'u4', '?'])
def test_arrays_of_numbers_load(kind, tmp_path):
    if not hasattr(torch.serialization, 'safe_globals'):
        pytest.skip('torch before 2.5 reads none')
    path = tmp_path / 'x.pth'
    value = np.arange(6).reshape(2, 3).astype(kind)
    torch.save({'array': value, 'number': value[1, 2], 'turned': value.T}, path)
    found = load_file(str(path))
    for name, wanted in (('array', value), ('turned', value.T)):
        assert type(found[name]) is np.ndarray
        assert found[name].dtype == wanted.dtype
        np.testing.assert_array_equal(found[name], wanted)
    assert found['number'] == value[1, 2]


def test_a_tensor_does_not_share_the_memory_of_an_array(tmp_path):
    if not hasattr(torch.serialization, 'safe_globals'):
        pytest.skip('torch before 2.5 reads no arrays')
    array = np.zeros(3)
    rebuild = torch._utils._rebuild_device_tensor_from_numpy
    tensor = Made(rebuild, array, torch.float64, 'cpu', False)
    path = tmp_path / 'x.pth'
    path.write_bytes(rewritten({'array': array, 'tensor': tensor}))
    found = load_file(str(path))
    found['array'][:] = 7  # what fills it anew frees its memory
    assert found['tensor'].tolist() == [0, 0, 0]


def test_a_text_that_mentions_a_bytearray_loads(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save({'state_dict': WEIGHTS, 'meta': {'cfg': 'x = bytearray(3)'}}, path)
    assert load_file(str(path))['meta'] == {'cfg': 'x = bytearray(3)'}


def test_an_order_of_keys_that_is_none_is_overlooked(tmp_path):
    pytest.importorskip('safetensors')
    path = tmp_path / 'x.safetensors'
    one = {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}
    path.write_bytes(safetensors({'a': one, '__metadata__': {'key_order': '[["a"]]'}}, b'1234'))
    assert list(load_file(str(path))['state_dict']) == ['a']


def test_expanded_weights_of_a_harmless_size_load(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save({'a': torch.ones(1).expand(1000, 1000)}, path)
    assert load_file(str(path))['a'].shape == (1000, 1000)


def test_memory_that_tensors_share_counts_once(tmp_path):
    model = torch.nn.Linear(1500, 1500)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 1500)).sum().backward()
    optimizer.step()
    state = model.state_dict()
    flat = torch.zeros(2 * 10**6)
    state.update({f'tied.{i}': state['weight'] for i in range(30)})
    state.update({f'part.{i}': flat[i * 10**5 : 10**6 + i * 10**5] for i in range(10)}, flat=flat)
    content = {'state_dict': state, 'ema_state_dict': dict(state), 'optimizer': None}
    content['optimizer'] = optimizer.state_dict()
    path = tmp_path / 'x.pth'
    torch.save(content, path)
    assert sum(value.nbytes for value in state.values()) > path.stat().st_size + 2**26
    assert load_file(str(path))['state_dict'].keys() == state.keys()


@pytest.mark.parametrize('dtype', ['float8_e4m3fn', 'float8_e5m2', 'complex64', 'bfloat16'])
def test_nan_is_found_in_all_types(dtype, tmp_path):
    dtype = getattr(torch, dtype, None) or pytest.skip('not in this torch')
    path = tmp_path / 'x.pth'
    torch.save({'a': torch.tensor([1.0]).to(dtype)}, path)
    load_file(str(path))
    torch.save({'a': torch.tensor([1.0, torch.nan]).to(dtype)}, path)
    with pytest.raises(CheckpointError, match='1 tensors hold NaN or infinity: a'):
        load_file(str(path))


@pytest.mark.parametrize(
    'dtype',
    [
        'F4',
        'F6_E2M3',
        'F8_E8M0',
        'F8_E4M3',
        'C64',
        'U64',
        'BOOL',
        'F128',
        'f32',
        '',
        None,
        5,
        ['F32'],
    ],
)
@pytest.mark.parametrize('size', [8, 7])
def test_crafted_types_of_safetensors(dtype, size, tmp_path):
    pytest.importorskip('safetensors')
    entry = {'dtype': dtype, 'shape': [8], 'data_offsets': [0, size]}
    path = tmp_path / 'x.safetensors'
    path.write_bytes(safetensors({'a': entry}, b'\xff' * size))
    with contextlib.suppress(CheckpointError):  # any other exception is a failure
        load_file(str(path))


@pytest.mark.parametrize(
    'change',
    [
        ('byteorder', b'middle'),
        ('byteorder', b'big'),
        ('version', b'99999999999999999999'),
        ('version', b''),
        ('data.pkl', b''),
        ('data.pkl', b'.'),
        ('data.pkl', pickle.dumps(torch.float32, 2)),
        ('.format_version', b'x'),
        ('.data/serialization_id', b''),
        ('data/0', b''),
    ],
    ids=str,
)
def test_crafted_records_of_archives(change, tmp_path):
    end, data = change
    path = tmp_path / 'x.pth'
    path.write_bytes(rewritten({'state_dict': WEIGHTS}, [(end, lambda _: data)]))
    with contextlib.suppress(CheckpointError):  # any other exception is a failure
        load_file(str(path))


@pytest.mark.parametrize(
    'extra', ['x/constants.pkl', 'x/code/a.py', '../../up', 'x/data.pkl', 'x/']
)
def test_records_that_an_archive_should_not_have(extra, tmp_path):
    path, outside = tmp_path / 'in' / 'in' / 'x.pth', tmp_path / 'up'
    path.parent.mkdir(parents=True)
    torch.save({'state_dict': WEIGHTS}, path)
    with zipfile.ZipFile(path, 'a') as archive, warnings_off():
        archive.writestr(extra, b'import os')
    with contextlib.suppress(CheckpointError):
        load_file(str(path))
    assert not outside.exists()


def test_a_file_that_holds_itself(tmp_path):
    content = {'state_dict': dict(WEIGHTS)}
    content['state_dict']['again'] = content
    path = tmp_path / 'x.pth'
    torch.save(content, path)
    assert 'a.bias' in load_file(str(path))['state_dict']


@pytest.mark.parametrize('value', ['nan', 'inf'])
def test_weights_that_are_not_finite_are_named(value, tmp_path, warnings):
    state = {**WEIGHTS, 'b': torch.tensor([1.0, float(value)]), 'n': torch.tensor(3)}
    path = tmp_path / 'x.pth'
    torch.save({'state_dict': state, 'meta': {}}, path)
    words = f'{path}: 1 tensors hold NaN or infinity: b. '
    with pytest.raises(CheckpointError) as caught:
        load_file(str(path))
    assert str(caught.value).startswith(words)
    assert 'Take an earlier checkpoint of that run' in str(caught.value)
    assert warnings == []
    assert 'b' in load_file(str(path), finite=False)['state_dict']
    (message,) = warnings
    assert message.startswith(words)


def test_an_optimizer_that_is_not_finite_does_not_matter_to_who_takes_the_weights(tmp_path):
    path = tmp_path / 'x.pth'
    torch.save({'state_dict': WEIGHTS, 'optimizer': {'x': torch.tensor(torch.nan)}}, path)
    assert load_file(str(path))['state_dict'].keys() == WEIGHTS.keys()


class Code:
    def __reduce__(self):
        return exec, ('raise SystemExit("code from a checkpoint was run")',)


# -- any bytes -------------------------------------------------------------------------


def seeds():
    zipped, legacy = io.BytesIO(), io.BytesIO()
    torch.save({'state_dict': WEIGHTS, 'meta': {'epoch': 3}}, zipped)
    torch.save(WEIGHTS, legacy, _use_new_zipfile_serialization=False)
    plain = {
        'a': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]},
        '__metadata__': {'key_order': '["a"]', 'epoch': '[1]'},
    }
    return {
        'zip.pth': zipped.getvalue(),
        'legacy.pth': legacy.getvalue(),
        'pickle.pth': pickle.dumps({'a': 1, 'b': [2.5, 'c']}),
        'x.safetensors': safetensors(plain, bytes(8)),
    }


SEEDS = seeds()


@pytest.mark.parametrize('name', SEEDS)
@settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=EDITS)
def test_mutated_files_load_or_are_named_as_damaged(name, steps, tmp_path):
    if name.endswith('.safetensors'):
        pytest.importorskip('safetensors')
    path = tmp_path / name
    path.write_bytes(mutate(SEEDS[name], steps))
    with contextlib.suppress(CheckpointError):  # any other exception is a failure
        load_file(str(path))


@pytest.mark.parametrize('where', ['front', 'meta', 'key'])
def test_code_is_not_run_wherever_it_hides(where, tmp_path):
    content = {
        'front': [Code(), WEIGHTS],
        'meta': {'state_dict': WEIGHTS, 'meta': {'config': Code()}},
        'key': {'state_dict': {**WEIGHTS, 'c': Code()}},
    }[where]
    path = tmp_path / 'x.pth'
    torch.save(content, path)
    with pytest.raises(CheckpointError, match='could execute code'):
        load_file(str(path))
