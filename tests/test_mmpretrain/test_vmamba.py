"""Classification configs of VMamba and EfficientVMamba: recipes, a step, and a whole run."""

import json
from collections import namedtuple

import pytest

pytest.importorskip('mmpretrain.models')

import numpy as np
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from tool_runs import forget_runs, run_sample

from tinyvim_mm.commands import test as test_tool
from tinyvim_mm.commands import train
from tinyvim_mm.core.paths import PROJECT_ROOT, SAMPLE_IMAGENET
from tinyvim_mm.models import reparameterize
from tinyvim_mm.models.catalogue import find_network
from tinyvim_mm.recipes.configs import find_config, load_config

# Drop path; images a step; weight decay; limit of the gradient; mixup;
# learning rate at the first step, at its height and at the end.
Recipe = namedtuple('Recipe', 'drop_path batch weight_decay max_norm mixup rates')
_VMAMBA = (1024, 0.05, 5.0, 0.8, (1e-6, 1e-3, 1e-5))
_EFFICIENT = (0.04, 1.0, 0.2, (1e-7, 2e-3, 1e-6))
RECIPES = {
    'vmamba_t': Recipe(0.2, *_VMAMBA),
    'vmamba_t_s2l5': Recipe(0.2, *_VMAMBA),
    'vmamba_s': Recipe(0.3, *_VMAMBA),
    'vmamba_b': Recipe(0.6, *_VMAMBA),
    'efficientvmamba_t': Recipe(0.1, 2048, *_EFFICIENT),
    'efficientvmamba_s': Recipe(0.1, 2048, *_EFFICIENT),
    'efficientvmamba_b': Recipe(0.1, 1024, *_EFFICIENT),
}
SMALLEST = ['vmamba_t_s2l5', 'efficientvmamba_t']
ARCH = {'embed_dims': (8, 16, 24, 32), 'depths': (1, 1, 1, 1)}
TINY = [
    'train_dataloader.dataset.pipeline.1.scale=64',
    'train_dataloader.dataset.indices=4',
    'train_dataloader.batch_size=2',
    'test_dataloader.dataset.pipeline.1.scale=71',
    'test_dataloader.dataset.pipeline.2.crop_size=64',
    'test_dataloader.dataset.indices=3',
    'train_cfg.max_epochs=1',
    'default_hooks.checkpoint.interval=1',
]


def load(network):
    cfg = load_config(find_config(f'{network}_300e_in1k'))
    init_default_scope('mmpretrain')
    return cfg


def test_every_config_has_a_recipe():
    found = (PROJECT_ROOT / 'configs' / 'mmpretrain').glob('*vmamba_*.py')
    assert {path.stem for path in found} == {f'{network}_300e_in1k' for network in RECIPES}


@pytest.mark.parametrize('network', RECIPES)
def test_the_recipe(network):
    cfg, recipe = load(network), RECIPES[network]
    cls, arch = find_network(network)
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.arch) == (f'tinyvim_mm.{cls.__name__}', arch)
    assert backbone.drop_path_rate == recipe.drop_path
    assert cfg.model.head.in_channels == cls.arch_settings[arch].embed_dims[-1]
    assert cfg.model.head.loss == {'type': 'LabelSmoothLoss', 'label_smooth_val': 0.1}

    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == recipe.batch
    start, height, end = recipe.rates
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=height, weight_decay=recipe.weight_decay
    )
    assert cfg.optim_wrapper.clip_grad == {'max_norm': recipe.max_norm}
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.start_factor * height == pytest.approx(start)
    assert (warm_up.end, cosine.begin, cosine.end, cosine.eta_min) == (20, 20, 300, end)
    assert cfg.train_cfg.max_epochs == 300

    kinds = {a.type: a.alpha for a in cfg.model.train_cfg.augments}
    assert kinds == {'Mixup': recipe.mixup, 'CutMix': 1.0}
    (hook,) = cfg.custom_hooks
    assert 1 - hook.momentum == pytest.approx(0.9999)
    steps = {step.type: step for step in cfg.train_dataloader.dataset.pipeline}
    augment = steps['RandAugment']
    levels = (augment.magnitude_level, augment.total_level, augment.magnitude_std)
    assert levels == (9, 10, 0.5)
    assert (augment.policies == 'timm_increasing') == network.startswith('vmamba')
    assert steps['RandomErasing'].erase_prob == 0.25
    resize, crop = cfg.test_dataloader.dataset.pipeline[1:3]
    assert (resize.scale, crop.crop_size) == (256, 224)


def test_policies_without_increasing_strength():
    (augment,) = (
        step
        for step in load('efficientvmamba_t').train_dataloader.dataset.pipeline
        if step.type == 'RandAugment'
    )
    settings = dict(augment, magnitude_std=0, num_policies=1)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for policy in augment.policies:
        transform = TRANSFORMS.build({**settings, 'policies': [policy]})
        assert transform({'img': picture.copy()})['img'].shape == picture.shape
    ranges = {policy.type: policy.get('magnitude_range') for policy in augment.policies}
    # At level 9 of 10: a factor of 0.1 + 0.9 * 1.8, and 3 bits kept.
    low, high = ranges['Brightness']
    assert 1 + low + 0.9 * (high - low) == pytest.approx(0.1 + 0.9 * 1.8)
    assert int(0.9 * ranges['Posterize'][1]) == 3


@pytest.mark.parametrize('network', SMALLEST)
def test_a_step_of_training(network):
    cfg = load(network)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    cfg.model.backbone.arch = ARCH
    cfg.model.head.in_channels = 32
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    free = {names[id(p)] for g in groups for p in g['params'] if g['weight_decay'] == 0}
    assert free == {name for name, p in model.named_parameters() if p.dim() == 1}
    assert any(name.endswith('.A_logs') for name in names.values())

    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    samples = [DataSample().set_gt_label(label) for label in (1, 2)]
    model.train()
    logged = model.train_step({'inputs': images, 'data_samples': samples}, wrapper)
    assert all(torch.isfinite(value) for value in logged.values())
    moved = [not torch.equal(p, before[name]) for name, p in model.named_parameters()]
    assert sum(moved) > 0.95 * len(moved)

    model.eval()
    pixels = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(pixels, mode='tensor')
        deployed = reparameterize(model)(pixels, mode='tensor')
    torch.testing.assert_close(deployed[0], expected[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('network', SMALLEST)
def test_training_and_inference_on_the_shipped_pictures(network, tmp_path, monkeypatch):
    from mmpretrain import ImageClassificationInferencer

    monkeypatch.chdir(tmp_path)
    config = tmp_path / 'tiny.py'
    base = find_config(f'{network}_300e_in1k')
    model = f'dict(backbone=dict(arch=dict({ARCH}, _delete_=True)), head=dict(in_channels=32))'
    config.write_text(f'_base_ = {str(base)!r}\nmodel = {model}\n')
    run_sample(train.main, str(config), '--work-dir', 'trained', options=TINY)
    checkpoint = tmp_path / 'trained' / 'epoch_1.pth'
    run_sample(test_tool.main, str(config), checkpoint, '--work-dir', 'tested', options=TINY)
    trained, tested = (
        json.loads((tmp_path / folder / 'metrics.json').read_text())['metrics']
        for folder in ('trained', 'tested')
    )
    assert tested == trained
    picture = sorted((SAMPLE_IMAGENET / 'val' / 'dog').iterdir())[0]
    inferencer = ImageClassificationInferencer(
        str(tmp_path / 'trained' / 'tiny.py'), pretrained=str(checkpoint), device='cpu'
    )
    (found,) = inferencer(str(picture))
    assert found['pred_scores'].sum() == pytest.approx(1, abs=1e-5)
    forget_runs()
