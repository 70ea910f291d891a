"""Checkpoints that do not fit the model, in whole or in part."""

from collections import OrderedDict
from types import SimpleNamespace

import pytest

pytest.importorskip('mmengine.runner')

import torch
from mmengine.hooks import EMAHook
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from tool_runs import forget_runs
from torch import nn

from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.models import TinyViM, reparameterize
from tinyvim_mm.training.fit import FitHook
from tinyvim_mm.training.runner import ToolRunner
from tinyvim_mm.weights.keys import translate_key

ARCH = dict(embed_dims=(8, 8, 16, 16), depths=(1, 1, 2, 1))


class Detector(BaseModel):
    """A backbone, and a head that changes with the number of classes."""

    def __init__(self, classes=3, backbone=True):
        super().__init__()
        if backbone:
            self.backbone = TinyViM(dict(ARCH))
        self.neck = nn.Sequential(nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, classes)

    def forward(self, inputs, mode='tensor'):
        return inputs


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Save a checkpoint, and load it as a tool does."""
    warnings = []
    monkeypatch.setattr(
        MMLogger, 'warning', lambda self, text, *args, **kw: warnings.append(str(text))
    )
    monkeypatch.setattr(ToolRunner, '_log_env', lambda *args: None)  # which asks the system

    def load(model, checkpoint, partial=False, resume=False, hooks=(), **options):
        forget_runs()
        file = tmp_path / 'x.pth'
        torch.save(checkpoint, file)
        runner = ToolRunner(
            model, str(tmp_path), load_from=str(file), resume=resume, custom_hooks=[*hooks]
        )
        runner.cfg.update(options)
        runner.register_hook(FitHook(partial))
        runner.call_hook('before_run')
        warnings.clear()
        runner.load_or_resume()
        return warnings

    yield load
    forget_runs()


def saved(model, **changes):
    """What a training saves of a model, some tensors replaced, or taken out by ``None``."""
    state = {**model.state_dict(), **changes}
    return {'state_dict': {k: v for k, v in state.items() if v is not None}, 'meta': {}}


def training_state(model, **others):
    """What can be resumed."""
    meta = {'epoch': 1, 'iter': 2}
    return {**saved(model), 'meta': meta, 'optimizer': {}, 'message_hub': {}, **others}


def renamed(state, rename):
    return {rename(key): value for key, value in state.items()}


def equal(model, other):
    return all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


# -- what fits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    'change',
    [
        lambda checkpoint: checkpoint,
        lambda checkpoint: checkpoint['state_dict'],
        lambda checkpoint: {'model': checkpoint['state_dict'], 'epoch': 3},
        lambda checkpoint: {
            'state_dict': renamed(checkpoint['state_dict'], lambda key: f'module.{key}')
        },
    ],
    ids=['mmengine', 'bare', 'model', 'distributed'],
)
def test_the_same_model_in_any_wrapping(change, load):
    model, other = Detector(), Detector()
    assert load(model, change(saved(other))) == []
    assert equal(model, other)


@pytest.mark.parametrize(
    'change',
    [
        # Before torch 0.4.1.
        lambda state: {k: v for k, v in state.items() if 'num_batches' not in k},
        # mmdet 2 and mmseg 0 kept the moving average as buffers of the model.
        lambda state: {**state, 'ema_head_weight': torch.zeros(3, 4)},
        # Release candidates of mmdet 3 and mmpretrain.
        lambda state: {**state, 'data_preprocessor.mean': torch.zeros(3, 1, 1)},
    ],
    ids=['num_batches_tracked', 'ema', 'data_preprocessor'],
)
def test_what_older_versions_saved_beside_the_weights(change, load):
    model, other = Detector(), Detector()
    load(model, {'state_dict': change(other.state_dict())})
    assert equal(model, other)


def test_a_model_may_rename_keys_by_their_version(load):
    class Versioned(Detector):
        _version = 2

        def _load_from_state_dict(self, state, prefix, metadata, *args):
            if (metadata.get('version') or 1) < 2:
                state['head.weight'] = state.pop('fc.weight')
                state['head.bias'] = state.pop('fc.bias')
            super()._load_from_state_dict(state, prefix, metadata, *args)

    model, other = Versioned(), Versioned()
    new = other.state_dict()
    old = OrderedDict(renamed(new, lambda key: key.replace('head.', 'fc.')))
    load(model, {'state_dict': old})
    assert equal(model, other)
    assert new._metadata['']['version'] == 2
    load(Versioned(), {'state_dict': new})


def test_a_backbone_in_the_layout_of_the_release(load):
    model, other = Detector(), Detector()
    state = other.state_dict()
    rules = TinyViM.rules_to_released(state)
    released = {
        'backbone.' + translate_key(k.removeprefix('backbone.'), rules): v
        for k, v in state.items()
        if k.startswith('backbone.')
    }
    assert any(key not in state for key in released)
    rest = {k: v for k, v in state.items() if not k.startswith('backbone.')}
    assert load(model, {'state_dict': {**released, **rest}}) == []
    assert equal(model, other)


# -- what does not, in an evaluation -------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'head.weight': None}, '1 missing in the file: head.weight'),
        ({'extra.weight': torch.ones(1)}, '1 unknown to the model: extra.weight'),
        (
            {'head.weight': torch.ones(5, 4), 'head.bias': torch.ones(5)},
            r'2 of another shape: head.weight is \(5, 4\) in the file, \(3, 4\) in the model; '
            r'head.bias is \(5,\) in the file, \(3,\) in the model',
        ),
        # A second layer, of a training with a teacher, has a say in the result.
        ({'head.dist_head.weight': torch.ones(3, 4)}, '1 unknown .*: head.dist_head.weight'),
    ],
    ids=['missing', 'unknown', 'shape', 'teacher'],
)
@pytest.mark.parametrize('resume', [False, True])
def test_a_key_too_few_or_too_many(changes, words, resume, load):
    model = Detector()
    checkpoint = {
        **training_state(model),
        **saved(model, **changes),
        'meta': {'epoch': 1, 'iter': 2},
    }
    with pytest.raises(CheckpointError, match=words) as caught:
        load(model, checkpoint, resume=resume)
    message = str(caught.value)
    assert 'x.pth does not fit the model of the config (Detector), of which it fills' in message
    assert 'Name the config that the file was trained with' in message
    assert ('without --resume' in message) == resume


@pytest.mark.parametrize(
    ('state', 'words'),
    [
        (Detector(backbone=False).state_dict(), 'holds no backbone'),
        (
            {f'backbone.{k}': v for k, v in TinyViM(dict(ARCH)).state_dict().items()},
            'holds weights of the backbone, but none of the rest',
        ),
        (
            {f'backbone.{k}': v for k, v in TinyViM('s').state_dict().items()},
            'holds TinyViM-S: choose the config of its size',
        ),
        (TinyViM(dict(ARCH)).state_dict(), 'a backbone alone'),
    ],
    ids=['head', 'backbone', 'size', 'bare'],
)
def test_what_a_foreign_file_holds_is_said(state, words, load):
    with pytest.raises(CheckpointError, match=words) as caught:
        load(Detector(), {'state_dict': state})
    assert 'model.backbone.init_cfg.checkpoint=FILE' in str(caught.value)


def test_the_deployed_form_is_told_from_the_training_form(load):
    model = Detector()
    with pytest.raises(CheckpointError, match=r'x\.pth holds .* reparameterized') as caught:
        load(Detector(), saved(reparameterize(model)))
    assert 'take the checkpoint that it was made from' in str(caught.value)


@pytest.mark.parametrize('content', [[1, 2], {}, {'state_dict': {}}, {'state_dict': None, 'a': 1}])
def test_a_file_without_tensors(content, load):
    with pytest.raises(CheckpointError, match=r'x\.pth holds '):
        load(Detector(), content)


@pytest.mark.parametrize('entry', [{5: torch.ones(1)}, {'head.weight': [1.0]}])
def test_entries_that_are_no_tensors_with_a_name(entry, load):
    checkpoint = saved(Detector())
    checkpoint['state_dict'].update(entry)
    with pytest.raises(CheckpointError, match='1 entries of its state_dict are no tensors'):
        load(Detector(), checkpoint)


# -- the start of a training ---------------------------------------------------------------


def test_a_head_of_another_number_of_classes_is_left_out_and_named(load):
    model, other = Detector(classes=3), Detector(classes=7)
    warnings = load(model, saved(other), partial=True)
    (message,) = [text for text in warnings if 'fits the model in part' in text]
    assert 'the rest of the model keeps its initial values' in message
    assert '2 of another shape: head.weight is (7, 4) in the file, (3, 4) in the' in message
    assert equal(model.backbone, other.backbone)


def test_a_training_does_not_start_from_a_file_of_which_nothing_fits(load):
    state = {f'some.{i}': torch.ones(2) for i in range(9)}
    with pytest.raises(CheckpointError, match='Nothing of it can be loaded') as caught:
        load(Detector(), {'state_dict': state}, partial=True)
    assert '9 unknown to the model: some.0, some.1, some.2, some.3 and 5 more' in str(caught.value)


# -- the state of a training ---------------------------------------------------------------


@pytest.mark.parametrize('absent', ['optimizer', 'message_hub', 'param_schedulers', 'meta'])
def test_weights_alone_are_not_resumed(absent, load):
    model = Detector()
    checkpoint = training_state(model, param_schedulers=[])
    del checkpoint[absent]
    missing = 'meta.epoch, meta.iter' if absent == 'meta' else absent
    with pytest.raises(
        CheckpointError, match=f'cannot be resumed: it holds no {missing}'
    ) as caught:
        load(model, checkpoint, resume=True, partial=True, param_scheduler=[dict(type='x')])
    assert f'load_from={caught.value.args[0].split(" cannot")[0]}, without' in str(caught.value)


def averaged(model, **changes):
    state = {f'module.{key}': value for key, value in model.state_dict().items()}
    return {**state, 'steps': torch.tensor(3), **changes}


def test_an_average_of_another_model_is_not_resumed(load):
    model = Detector()
    average = averaged(model, **{'module.head.weight': torch.ones(9, 4)})
    checkpoint = training_state(model, ema_state_dict=average)
    with pytest.raises(CheckpointError, match=r'1 tensors differ: head\.weight'):
        load(model, checkpoint, resume=True, hooks=[dict(type='EMAHook')])


def look(hooks, checkpoint, model, load_from='x.pth'):
    """Call the hook alone, which a runner without data could not resume after."""
    texts = []
    logger = SimpleNamespace(info=texts.append, warning=texts.append)
    runner = SimpleNamespace(
        model=model, hooks=hooks, logger=logger, cfg={}, _resume=True, _load_from=load_from
    )
    FitHook(partial=True).after_load_checkpoint(runner, checkpoint)
    return texts


def test_a_training_with_an_average_is_resumed():
    model = Detector()
    checkpoint = training_state(model, ema_state_dict=averaged(model))
    (text,) = look([EMAHook()], checkpoint, model)
    assert text.endswith('tensors used; 0 fresh')


def test_an_average_that_the_config_has_not_is_told():
    model = Detector()
    texts = look([], training_state(model, ema_state_dict=averaged(model)), model)
    assert 'the training goes on from the average' in texts[-1]


# -- values --------------------------------------------------------------------------------


@pytest.mark.parametrize('partial', [False, True])
def test_weights_that_are_not_finite_start_nothing(partial, load):
    checkpoint = saved(Detector(), **{'head.bias': torch.tensor([1.0, float('nan'), 2.0])})
    with pytest.raises(CheckpointError, match=r'1 tensors hold NaN or infinity: head\.bias'):
        load(Detector(), checkpoint, partial=partial)


@pytest.mark.parametrize('part', ['optimizer', 'ema_state_dict'])
def test_a_training_that_had_diverged_is_not_resumed(part):
    checkpoint = training_state(Detector(), **{part: {'x': torch.tensor(float('inf'))}})
    with pytest.raises(CheckpointError, match=rf'hold NaN or infinity: {part}\.x'):
        look([], checkpoint, Detector())
