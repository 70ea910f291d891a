"""The one way of weights into a model, and that each caller reads and searches a file once."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import golden
import pytest
import torch
from torch import nn
from torch_abilities import needs_safe_types

from tinyvim_mm import get_config
from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.models import TinyViM
from tinyvim_mm.weights import Policy, checks, install_safe_loader, load_file, load_into

CONFIG = 'tinyvim_s_300e_in1k'
ARCH = dict(embed_dims=(8, 8, 16, 16), depths=(1, 1, 2, 1))


@pytest.fixture(scope='module')
def released(tmp_path_factory):
    """A classifier in the layout of the release."""
    path = tmp_path_factory.mktemp('released') / 'tinyvim_s.pth'
    torch.save({'model': golden.released_state_dict('s', dense_norms=False)}, path)
    return path


@pytest.fixture
def counts(monkeypatch):
    """How often a file was read, and each tensor searched for NaN."""
    counts = SimpleNamespace(reads=0, searches=Counter(), tensors=[])
    load, not_finite = torch.load, checks.not_finite

    def counting_load(*args, **kwargs):
        counts.reads += 1
        return load(*args, **kwargs)

    def counting_search(content):
        tensors = [tensor for _, tensor in checks.tensors_in(content)]
        counts.tensors += tensors  # kept, so that no two have one id
        counts.searches.update(map(id, tensors))
        return not_finite(content)

    monkeypatch.setattr(torch, 'load', counting_load)
    monkeypatch.setattr(checks, 'not_finite', counting_search)
    return counts


# -- every way ---------------------------------------------------------------------------


def init_cfg(path):
    model = TinyViM('s', init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model._dump_init_info = lambda: None
    model.init_weights()


def demo(path):
    pytest.importorskip('mmpretrain')
    from tinyvim_mm.inference.loading import load_predictor

    load_predictor(get_config(CONFIG), str(path), device='cpu')


def export_of(part, output):
    def export(path):
        pytest.importorskip('mmpretrain')
        from tinyvim_mm.export.networks import build

        build(get_config(CONFIG), part, output, str(path))

    return export


def timm_with(**options):
    def create(path):
        timm = pytest.importorskip('timm')
        import tinyvim_mm.integrations.timm  # noqa: F401

        given = {key: value(path) for key, value in options.items()}
        timm.create_model('tinyvim_s', **given)

    return create


def convert(path):
    from tinyvim_mm.conversion.layouts import convert_file

    convert_file(Path(path))


WAYS = {
    'init_cfg': init_cfg,
    'demo': demo,
    'export classifier': export_of('classifier', 'logits'),
    'export backbone': export_of('backbone', 'features'),
    'timm checkpoint_path': timm_with(checkpoint_path=str),
    'timm features': timm_with(checkpoint_path=str, features_only=lambda _: True),
    'timm file': timm_with(
        pretrained=lambda _: True, pretrained_cfg_overlay=lambda path: {'file': str(path)}
    ),
    'convert': convert,
}


@pytest.mark.parametrize('way', WAYS)
def test_a_file_is_read_once_and_searched_once(way, released, counts):
    WAYS[way](released)
    assert counts.reads == 1
    assert len(counts.searches) == len(golden.released_keys('s'))
    assert set(counts.searches.values()) == {1}


def test_the_weights_of_a_teacher_too(counts, tmp_path):
    pytest.importorskip('mmpretrain')
    from tinyvim_mm.models.classifiers.teacher import Teacher

    backbone = dict(type='tinyvim_mm.TinyViM', arch=ARCH, out_indices=(3,), normalize_outputs=False)
    head = dict(type='LinearClsHead', in_channels=16, num_classes=3)
    teacher = Teacher(
        dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=head,
        ),
        str(tmp_path / 'x.pth'),
    )
    state = {'head.fc.weight': torch.ones(3, 16), 'head.fc.bias': torch.ones(3)}
    inside = TinyViM(ARCH, out_indices=(3,), normalize_outputs=False).state_dict()
    state.update({f'backbone.{key}': value for key, value in inside.items()})
    torch.save(state, tmp_path / 'x.pth')
    teacher.load()
    assert counts.reads == 1
    assert len(counts.searches) == len(state)
    assert set(counts.searches.values()) == {1}


@pytest.mark.parametrize('way', ['load_from', 'resume', 'test'])
@needs_safe_types
def test_the_files_of_a_training_too(way, counts, tmp_path, monkeypatch):
    pytest.importorskip('mmengine.runner')
    from mmengine.model import BaseModel
    from mmengine.runner.checkpoint import CheckpointLoader
    from tool_runs import forget_runs

    from tinyvim_mm.training.fit import FitHook
    from tinyvim_mm.training.runner import ToolRunner

    class Detector(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = TinyViM(ARCH)

        def forward(self, inputs, mode='tensor'):
            return inputs

    model, other = Detector(), Detector()
    average = {f'module.{key}': value.clone() for key, value in other.state_dict().items()}
    checkpoint = {
        'state_dict': other.state_dict(),
        'meta': {'epoch': 1, 'iter': 2},
        'message_hub': {},
        'optimizer': {'state': {0: {'exp_avg': torch.zeros(3)}}},
        'ema_state_dict': average,
    }
    file = tmp_path / 'x.pth'
    torch.save(checkpoint, file)
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    monkeypatch.setattr(ToolRunner, '_log_env', lambda *args: None)
    install_safe_loader()
    forget_runs()
    resume = way == 'resume'
    runner = ToolRunner(model, str(tmp_path), load_from=str(file), resume=resume)
    runner.register_hook(FitHook(partial=way != 'test'))
    runner.call_hook('before_run')
    runner.load_checkpoint(str(file))  # what Runner.resume begins with, too
    forget_runs()
    assert counts.reads == 1
    assert len(counts.searches) == len(other.state_dict()) + resume * (len(average) + 1)
    assert set(counts.searches.values()) == {1}
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


# -- what it promises --------------------------------------------------------------------


class Head(nn.Module):
    keys_left_aside = ((r'old\.', 'of no use any more'),)

    def __init__(self, width=2):
        super().__init__()
        self.layer = nn.Linear(2, width)


def test_a_model_that_does_not_fit_stays_as_it_was():
    model, other = Head(), Head()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    del (state := other.state_dict())['layer.bias']
    with pytest.raises(CheckpointError) as caught:
        load_into(model, {**state, 'x': torch.ones(1)}, Policy(name='my head', cure='Train one'))
    assert str(caught.value) == (
        'the checkpoint does not fit my head.\n  1 missing in the file: layer.bias\n'
        '  1 unknown to the model: x\nTrain one'
    )
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_part_may_be_enough():
    model, other = Head(), Head()
    del (state := other.state_dict())['layer.bias']
    report = load_into(model, {**state, 'x': torch.ones(1)}, Policy(whole=False))
    assert (report.used, report.missing, report.unknown) == (
        ['layer.weight'],
        ['layer.bias'],
        ['x'],
    )
    assert torch.equal(model.layer.weight, other.layer.weight)
    with pytest.raises(CheckpointError, match=r'1 of another shape: layer\.weight is \(3, 2\)'):
        load_into(model, {'layer.weight': torch.ones(3, 2)}, Policy(whole=False))


def test_every_key_is_accounted_for():
    model = nn.ModuleDict({'head': Head(), 'norm': nn.BatchNorm1d(2)})
    state = nn.ModuleDict({'head': Head()}).state_dict()
    others = {'head.old.weight': torch.ones(1), 'ema_x': torch.ones(1), 'y.z': torch.ones(1)}
    policy = Policy(may_be_fresh=[r'norm\.'], aside=[(r'y\.', 'for others')])
    report = load_into(model, {**state, **others}, policy)
    assert report.account() == (
        '2 tensors used; '
        '1 left aside, moving average of versions before mmengine, whose weights are the average: '
        'ema_x; 1 left aside, for others: y.z; 1 left aside, of no use any more: head.old.weight; '
        '5 fresh: norm.weight, norm.bias, norm.running_mean, norm.running_var and 1 more'
    )


def test_what_was_read_knows_its_file_and_is_saved_as_plain(tmp_path):
    torch.save({'state_dict': {'a': torch.ones(1)}}, tmp_path / 'x.pth')
    checkpoint = load_file(str(tmp_path / 'x.pth'))
    assert checkpoint.origin == str(tmp_path / 'x.pth')
    torch.save(checkpoint, tmp_path / 'y.pth')
    assert torch.load(tmp_path / 'y.pth', weights_only=True).keys() == {'state_dict'}


@pytest.mark.parametrize(
    ('make', 'kind'),
    [
        (lambda w: w.to(torch.int8), 'int8'),
        (lambda w: w.bool(), 'bool'),
        (lambda w: w.to(torch.complex64), 'complex64'),
        (lambda w: w.to_sparse(), 'sparse_coo'),
        (lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8), 'quantized'),
    ],
    ids=['int8', 'bool', 'complex', 'sparse', 'quantized'],
)
@pytest.mark.filterwarnings('ignore')
def test_weights_of_a_kind_that_cannot_be_meant(make, kind, tmp_path):
    model, path = nn.Linear(2, 3), tmp_path / 'x.pth'
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save({'weight': make(torch.ones(3, 2)), 'bias': torch.zeros(3)}, path)
    words = rf"1 of another shape or type: weight is \(3, 2, '{kind}'\) in the file, \(3, 2\)"
    with pytest.raises(CheckpointError, match=words):
        load_into(model, str(path))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_load(dtype, tmp_path):
    model, path = nn.Linear(2, 3), tmp_path / 'x.pth'
    torch.save({key: value.to(dtype) for key, value in model.state_dict().items()}, path)
    assert len(load_into(model, str(path)).used) == 2
