"""Loading released weights, and every way in which a file can be wrong."""

import datetime
import pickle
import re

import golden
import pytest
import torch
from torch_abilities import needs_safe_types

from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.models import TinyViM
from tinyvim_mm.models.backbones import released as released_weights
from tinyvim_mm.weights import files as checkpoint
from tinyvim_mm.weights.files import install_safe_loader, load_file

KEY = 'network.0.0.mlp.fc1.c.weight'


@pytest.fixture(scope='module')
def released():
    return golden.released_state_dict('s', dense_norms=False)


@pytest.fixture(autouse=True)
def _no_dump_of_the_initialization(monkeypatch):
    # mmengine prints four lines for each of 500 parameters.
    monkeypatch.setattr(TinyViM, '_dump_init_info', lambda self: None)


@pytest.fixture
def log(monkeypatch):
    messages = []
    monkeypatch.setattr(
        released_weights, 'print_log', lambda message, logger: messages.append(message)
    )
    return messages


def save(content, folder, name='weights.pth'):
    path = folder / name
    torch.save(content, path)
    return str(path)


def load(path, arch='s', **options):
    init_cfg = {'type': 'Pretrained', 'checkpoint': path}
    prefix = options.pop('prefix', None)
    if prefix:
        init_cfg['prefix'] = prefix
    model = TinyViM(arch, init_cfg=init_cfg, **options)
    model.init_weights()
    return model


WRAPPERS = {
    'model': lambda state: {'model': state, 'epoch': 299},
    'state_dict': lambda state: {'state_dict': state, 'meta': {'epoch': 12}},
    'bare': lambda state: state,
    'module': lambda state: {'model': {f'module.{k}': v for k, v in state.items()}},
    'backbone': lambda state: {'state_dict': {f'backbone.{k}': v for k, v in state.items()}},
    'both': lambda state: {f'module.backbone.{k}': v for k, v in state.items()},
}


@pytest.mark.parametrize('form', WRAPPERS)
def test_every_known_wrapping_loads(form, released, tmp_path, log):
    model = load(save(WRAPPERS[form](released), tmp_path))
    assert torch.equal(model.state_dict()['stages.0.blocks.0.mlp.fc1.conv.weight'], released[KEY])
    assert log == [
        f'TinyViM-S from {tmp_path / "weights.pth"}: 796 tensors used; 9 left aside, classifier: '
        'norm.weight, norm.bias, norm.running_mean, norm.running_var and 5 more; 20 fresh: '
        'out_norms.0.weight, out_norms.0.bias, out_norms.0.running_mean, '
        'out_norms.0.running_var and 16 more'
    ]


def test_dense_norms_are_used_when_the_file_has_them(tmp_path, log):
    state = golden.released_state_dict('s')
    model = load(save(state, tmp_path))
    assert torch.equal(model.out_norms['1'].weight, state['norm2.weight'])
    assert '816 tensors used' in log[0]
    assert '0 fresh' in log[0]


def test_own_checkpoints_load_too(tmp_path):
    model = TinyViM('s')
    again = load(save({'state_dict': model.state_dict()}, tmp_path))
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_a_detectors_other_parts_are_left_aside(released, tmp_path, log):
    state = {f'backbone.{key}': value for key, value in released.items()}
    state['neck.lateral_convs.0.conv.weight'] = torch.zeros(3)
    load(save({'state_dict': state}, tmp_path))
    assert '1 left aside, not of the backbone: neck.lateral_convs.0.conv.weight' in log[0]


def test_a_prefix_may_be_given(released, tmp_path):
    state = {f'student.encoder.{key}': value for key, value in released.items()}
    load(save(state, tmp_path), prefix='student.encoder')
    with pytest.raises(CheckpointError, match=r"no keys under 'teacher\.'; it has .* student"):
        load(save(state, tmp_path), prefix='teacher')


def test_stages_that_are_not_built_are_accounted_for(released, tmp_path, log):
    load(save(released, tmp_path), out_indices=(0, 1))
    assert 'left aside, stage after the last of out_indices: stages.2.' in log[0]


def test_released_keys_load_inside_a_detector(released):
    detector = torch.nn.ModuleDict({'backbone': TinyViM('s', normalize_outputs=False)})
    classifier = ('norm.', 'head.', 'dist_head.')
    state = {f'backbone.{k}': v for k, v in released.items() if not k.startswith(classifier)}
    detector.load_state_dict(state)
    own = detector['backbone'].stages[0].blocks[0].mlp.fc1.conv.weight
    assert torch.equal(own, released[KEY])


def test_initialization_is_recorded_as_pretrained(released, tmp_path, monkeypatch):
    path, seen = save(released, tmp_path), {}
    monkeypatch.setattr(
        TinyViM,
        '_dump_init_info',
        lambda self: seen.update(
            {n: self._params_init_info[p] for n, p in self.named_parameters()}
        ),
    )
    load(path)
    assert path in seen['stem.0.conv.weight']['init_info']


# -- files that are wrong -----------------------------------------------------------


def test_missing_file_says_where_it_was_looked_for(tmp_path):
    (tmp_path / 'tinyvim_s.pth').touch()
    with pytest.raises(FileNotFoundError, match=r'tinyvim_z\.pth does not exist') as error:
        load(str(tmp_path / 'tinyvim_z.pth'))
    assert 'similar files there: tinyvim_s.pth' in str(error.value)
    assert 'model.backbone.init_cfg=None' in str(error.value)


def test_folder_is_named_as_such(tmp_path):
    with pytest.raises(FileNotFoundError, match='is a folder, not a file'):
        load(str(tmp_path))


@pytest.mark.parametrize('damage', ['empty', 'truncated', 'flipped', 'text'])
def test_damaged_file(damage, released, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(released, path)
    content = path.read_bytes()
    path.write_bytes(
        {
            'empty': b'',
            'truncated': content[: len(content) // 2],
            'flipped': b'\x00' * 200 + content[200:-200] + b'\x00' * 200,
            'text': b'<html>404</html>',
        }[damage]
    )
    with pytest.raises(CheckpointError, match='is damaged or no PyTorch checkpoint'):
        load(str(path))


@pytest.mark.parametrize('arch', ['b', 'l'])
def test_wrong_size_names_the_right_one(arch, released, tmp_path):
    with pytest.raises(CheckpointError) as error:
        load(save(released, tmp_path), arch=arch)
    message = str(error.value)
    assert f'does not fit TinyViM-{arch.upper()}. It holds TinyViM-S: build with arch=' in message
    assert 'of another shape' in message


def test_foreign_network(tmp_path):
    state = {'conv1.weight': torch.zeros(64, 3, 7, 7), 'layer1.0.bn1.bias': torch.zeros(64)}
    with pytest.raises(CheckpointError, match=r'It holds no TinyViM') as error:
        load(save(state, tmp_path))
    assert '2 unknown to the model: conv1.weight, layer1.0.bn1.bias' in str(error.value)


def test_incomplete_file_is_no_silent_random_initialization(released, tmp_path):
    state = {key: value for key, value in released.items() if key != KEY}
    with pytest.raises(
        CheckpointError, match=r'1 missing in the file: stages\.0\.blocks\.0\.mlp\.fc1'
    ):
        load(save(state, tmp_path))


@pytest.mark.parametrize('content', [{'epoch': 3}, [1, 2], torch.zeros(3), {}])
def test_file_without_weights(content, tmp_path):
    with pytest.raises(CheckpointError, match=r'holds'):
        load(save(content, tmp_path))


def test_weights_that_are_not_finite_start_no_training(released, tmp_path):
    state = {**released, KEY: torch.full_like(released[KEY], torch.nan)}
    with pytest.raises(CheckpointError, match=f'1 tensors hold NaN or infinity: {re.escape(KEY)}'):
        load(save({'model': state}, tmp_path))


class Hostile:
    def __reduce__(self):
        return exec, ('raise SystemExit("code from a checkpoint was executed")',)


@pytest.mark.parametrize('protocol', ['zip', 'legacy', 'pickle'])
def test_code_in_a_checkpoint_is_not_executed(protocol, released, tmp_path):
    path = tmp_path / 'hostile.pth'
    content = {'state_dict': {KEY: released[KEY]}, 'meta': Hostile()}
    if protocol == 'pickle':
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=protocol == 'zip')
    with pytest.raises(CheckpointError) as error:
        load(str(path))
    if protocol != 'pickle':
        # Older versions of torch name its module, too.
        assert re.search(r'a pickled object \(([\w.]+\.)?exec\) that could exec', str(error.value))
        assert '--trust-checkpoint' in str(error.value)


@pytest.mark.parametrize('forced', ['0', '1'])
def test_trusted_checkpoint_may_hold_any_object(forced, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', forced)
    path = save({'when': datetime.date(2025, 10, 19)}, tmp_path)
    with pytest.raises(CheckpointError, match=r'a pickled object \(datetime\.date\)'):
        load_file(path)
    assert load_file(path, trust=True)['when'].year == 2025


def test_mmengine_refuses_code_too_once_the_safe_loader_is_installed(tmp_path, monkeypatch):
    pytest.importorskip('cv2', reason="mmengine's runner needs OpenCV")
    from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint

    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    install_safe_loader()
    path = save({'state_dict': {}, 'meta': Hostile()}, tmp_path)
    with pytest.raises(CheckpointError, match='could execute code'):
        load_checkpoint(torch.nn.Linear(2, 2), path)


def test_safe_loader_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(checkpoint, 'CheckpointLoader', None)  # no OpenCV
    with pytest.raises(CheckpointError, match='pip install opencv-python-headless'):
        install_safe_loader()


@needs_safe_types
def test_training_state_of_mmengine_loads_safely(tmp_path):
    import numpy as np
    from mmengine.logging import HistoryBuffer

    history = HistoryBuffer(np.array([1.0, 2.0]), np.array([1, 1]))
    path = save({'message_hub': {'log_scalars': {'loss': history}}}, tmp_path)
    assert load_file(path)['message_hub']['log_scalars']['loss'].mean() == 1.5
