"""What every backbone promises: stages are modules, the frozen stays, errors name the cure."""

import copy

import pytest
import torch
from torch import nn

from tinyvim_mm.models import DistillationClassifier, TinyViM, VMamba
from tinyvim_mm.models.catalogue import BACKBONES

families = pytest.mark.parametrize('family', BACKBONES)
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def build(family, **options):
    torch.manual_seed(0)
    cls = BACKBONES[family]
    stages = len(cls.strides)
    arch = {'embed_dims': [40 * 2**i for i in range(stages)], 'depths': [1] * stages}
    return cls(arch, **options)


@families
@torch.no_grad()
def test_stages_are_called_as_modules(family):
    model, maps = build(family, normalize_outputs=False).eval(), []
    for stage in model.stages:
        stage.register_forward_hook(lambda stage, inputs, output: maps.append(output))
    for seen, output in zip(maps, model(IMAGES), strict=False):
        assert torch.equal(seen, output)
    assert len(maps) == len(model.stages)
    x = model.stem(IMAGES)
    for stage, expected in zip(model.stages, maps, strict=False):
        x = stage(x)
        assert torch.equal(x, expected)


@families
def test_checkpointing_can_be_switched(family):
    model = build(family)
    assert not any(stage.with_cp for stage in model.stages)
    model.with_cp = True
    assert all(stage.with_cp for stage in copy.deepcopy(model).stages)
    assert all(stage.with_cp for stage in build(family, with_cp=True).stages)


@families
def test_all_stages_frozen_leave_nothing_to_train(family):
    stages = len(BACKBONES[family].strides)
    model = build(family, frozen_stages=stages, normalize_outputs=True).train()
    assert not any(p.requires_grad for p in model.parameters())
    before = copy.deepcopy(model.state_dict())
    model(IMAGES)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    model = build(family, frozen_stages=stages - 1, normalize_outputs=True).train()
    assert all(p.requires_grad for p in model.out_norms.parameters())


@families
def test_norm_cfg_is_for_batch_norms(family):
    eps = dict(type='BN', eps=0.5)
    if family == 'vmamba':
        with pytest.raises(ValueError, match=r'norm_cfg must be None for a VMamba, .* leave it'):
            build(family, norm_cfg=eps)
        return
    norms = build(family, norm_cfg=eps, normalize_outputs=True).modules()
    found = {(type(m), m.eps) for m in norms if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm))}
    assert {value for kind, value in found if kind is nn.BatchNorm2d} == {0.5}
    assert all(value == 1e-5 for kind, value in found if kind is not nn.BatchNorm2d)


@pytest.mark.parametrize(
    ('family', 'size', 'part'),
    [
        ('tinyvim', (32, 32), 'stages.3'),
        ('mobilemamba', (64, 64), 'stages.2'),
        ('mobilemamba', (16, 16), 'stem'),
        ('efficientvmamba', (32, 32), 'stages.3'),
    ],
)
def test_one_value_for_a_batch_norm_is_explained(family, size, part):
    model = build(family).train()
    with pytest.raises(ValueError, match=part) as caught:
        model(torch.randn(1, 3, *size))
    message = str(caught.value)
    assert message.startswith(f'{part} of {model.describe()}: a batch norm in training gets one')
    assert f'one image of {size[0]}x{size[1]} pixels' in message
    assert 'more images at a time or larger ones, or with norm_eval=True' in message
    model(torch.randn(2, 3, *size))
    build(family, norm_eval=True).train()(torch.randn(1, 3, *size))


@pytest.mark.parametrize('after_pool', [False, True])
def test_one_value_in_a_head_is_explained(after_pool):
    head = DistillationClassifier(8, 2, norm_after_pool=after_pool).train()
    with pytest.raises(ValueError, match=r'norm of DistillationClassifier: .* the batch is one'):
        head(torch.randn(1, 8, 1, 1))
    head(torch.randn(2, 8, 1, 1))
    assert head.eval()(torch.randn(1, 8, 1, 1)).shape == (1, 2)


def test_other_errors_pass_through():
    model = TinyViM({'embed_dims': [8] * 4, 'depths': [1] * 4}).train()
    with pytest.raises(RuntimeError, match='channels'):
        model(torch.randn(1, 4, 64, 64))
    VMamba({'embed_dims': [8] * 4, 'depths': [1] * 4}).train()(torch.randn(1, 3, 32, 32))
