"""The classification configs against the recipe, and one training step of each."""

import copy

import pytest

pytest.importorskip('mmpretrain.models')

import torch
from mmengine.dataset import DefaultSampler
from mmengine.optim import CosineAnnealingLR, LinearLR, build_optim_wrapper
from mmengine.registry import DATA_SAMPLERS, MODELS, init_default_scope
from mmpretrain.registry import BATCH_AUGMENTS, TRANSFORMS
from mmpretrain.structures import DataSample
from recipe_cases import load

from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.models import TinyViM

CONFIGS = sorted((PROJECT_ROOT / 'configs' / 'mmpretrain').glob('tinyvim_*.py'))
NAMES = [path.stem for path in CONFIGS]
TEACHER = {
    'type': 'ImageClassifier',
    'backbone': {'type': 'MobileNetV2', 'widen_factor': 0.1, 'out_indices': (7,)},
    'neck': {'type': 'GlobalAveragePooling'},
    'head': {'type': 'LinearClsHead', 'num_classes': 1000, 'in_channels': 1280},
}


@pytest.fixture(params=CONFIGS, ids=NAMES)
def path(request):
    return request.param


@pytest.fixture
def cfg(path):
    init_default_scope('mmpretrain')
    return load(path.stem)


def facts(path):
    _, arch, epochs, _ = path.stem.split('_')
    return arch, int(epochs.removesuffix('e'))


def transform(cfg, split, kind):
    found = [t for t in cfg[f'{split}_dataloader'].dataset.pipeline if t.type == kind]
    assert len(found) == 1, kind
    return found[0]


def test_there_is_a_config_of_each_size_and_length():
    assert sorted(f'tinyvim_{a}_{e}e_in1k' for a in 'sbl' for e in (300, 1000)) == NAMES


def test_the_network_is_the_one_of_the_name(path, cfg):
    arch, _ = facts(path)
    assert cfg.model.backbone.arch == arch
    assert cfg.model.head.in_channels == TinyViM.arch_settings[arch].embed_dims[-1]
    assert cfg.model.head.num_classes == cfg.data_preprocessor.num_classes == 1000


def test_the_batch_and_the_learning_rate_fit_each_other(cfg):
    batch = 8 * cfg.train_dataloader.batch_size
    assert batch == cfg.auto_scale_lr.base_batch_size == 1024
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer == {'type': 'AdamW', 'lr': 1e-3 * batch / 512, 'weight_decay': 0.025}


def test_the_learning_rate_takes_its_course(path, cfg):
    _, epochs = facts(path)
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.train_cfg.by_epoch
    steps_per_epoch = 3
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
    kinds = {'LinearLR': LinearLR, 'CosineAnnealingLR': CosineAnnealingLR}
    schedulers = []
    for settings in copy.deepcopy(cfg.param_scheduler):
        kind = kinds[settings.pop('type')]
        if settings.pop('convert_to_iter_based', False):
            settings.epoch_length = steps_per_epoch
            schedulers.append(kind.build_iter_from_epoch(optimizer, **settings))
        else:
            schedulers.append(kind(optimizer, **settings))
    rates = []
    for _ in range(epochs):
        for _ in range(steps_per_epoch):
            rates.append(optimizer.param_groups[0]['lr'])
            optimizer.step()
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                scheduler.step()
    warm = 5 * steps_per_epoch
    assert rates[0] == pytest.approx(1e-6)
    assert rates[1] - rates[0] == pytest.approx(rates[warm - 1] - rates[warm - 2])
    assert rates[warm] == pytest.approx(2e-3)
    assert max(rates) == pytest.approx(2e-3)
    middle = (5 + epochs) // 2 * steps_per_epoch
    assert rates[middle] == pytest.approx((2e-3 + 1e-5) / 2, rel=0.02)
    assert rates[-1] == pytest.approx(1e-5, rel=0.01)


def test_pictures_are_augmented_and_cropped_as_in_the_recipe(cfg):
    crop = transform(cfg, 'train', 'RandomResizedCrop')
    assert (crop.scale, crop.interpolation) == (224, 'bicubic')
    augment = transform(cfg, 'train', 'RandAugment')
    levels = (augment.magnitude_level, augment.total_level, augment.magnitude_std)
    assert levels == (9, 10, 0.5)
    assert (augment.policies, augment.num_policies) == ('timm_increasing', 2)
    assert augment.hparams.interpolation == 'bicubic'
    erasing = transform(cfg, 'train', 'RandomErasing')
    assert (erasing.erase_prob, erasing.mode) == (0.25, 'rand')
    for split in ('val', 'test'):
        resize = transform(cfg, split, 'ResizeEdge')
        size = transform(cfg, split, 'CenterCrop').crop_size
        assert (resize.edge, resize.interpolation, size) == ('short', 'bicubic', 224)
        assert resize.scale == int(size / 0.9)
    for step in cfg.train_dataloader.dataset.pipeline:
        TRANSFORMS.build(step)


def test_pictures_are_mixed_and_labels_smoothed(cfg):
    kinds = {a.type: a.alpha for a in cfg.model.train_cfg.augments}
    assert kinds == {'Mixup': 0.8, 'CutMix': 1.0}
    assert 'probs' not in cfg.model.train_cfg  # each for half of the batches
    for augment in cfg.model.train_cfg.augments:
        BATCH_AUGMENTS.build(augment)
    assert cfg.model.head.loss == {'type': 'LabelSmoothLoss', 'label_smooth_val': 0.1}


def test_each_picture_is_repeated_three_times(cfg):
    sampler = DATA_SAMPLERS.build(
        cfg.train_dataloader.sampler, default_args={'dataset': range(12), 'seed': 0}
    )
    assert not isinstance(sampler, DefaultSampler)
    picked = list(sampler)
    assert len(picked) == len(sampler) == 12
    assert sorted(picked.count(index) for index in set(picked)) == [3, 3, 3, 3]


def test_the_teacher_and_the_moving_average(cfg):
    assert cfg.model.distillation == {
        'type': 'hard',
        'alpha': 0.5,
        'teacher': {'type': 'TimmClassifier', 'model_name': 'regnety_160'},
        'checkpoint': 'checkpoints/regnety_160.pth',
    }
    (hook,) = cfg.custom_hooks
    assert hook.type == 'EMAHook'
    assert 1 - hook.momentum == pytest.approx(0.99996, abs=1e-12)
    assert hook.update_buffers


@pytest.mark.parametrize(
    'path',
    [
        p if p.stem == 'tinyvim_s_300e_in1k' else pytest.param(p, marks=pytest.mark.slow)
        for p in CONFIGS
    ],
    ids=NAMES,
)
def test_a_step_of_training(cfg, tmp_path):
    teacher = MODELS.build({**copy.deepcopy(TEACHER), '_scope_': 'mmpretrain'})
    torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')
    cfg.model.distillation.teacher = TEACHER
    cfg.model.distillation.checkpoint = str(tmp_path / 'teacher.pth')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    model.teacher.load()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(p): name for name, p in model.named_parameters()}

    groups = wrapper.optimizer.param_groups
    decays = {names[id(p)]: g['weight_decay'] for g in groups for p in g['params']}
    assert set(decays) == set(names.values())
    free = {name for name, decay in decays.items() if decay == 0}
    assert free == {name for name in decays if name.split('.')[-1] in ('A_logs', 'Ds')}
    assert len(free) == 10  # two for each of the five mixers
    assert {decay for decay in decays.values() if decay} == {0.025}

    assert wrapper.clip_grad_kwargs == {'clip_factor': 0.02}
    spared = {names[id(p)] for p in wrapper.clip_func.args[0]}
    layers = ('head', 'dist_head')
    assert spared == {f'head.{layer}.{kind}' for layer in layers for kind in ('weight', 'bias')}

    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    samples = [DataSample().set_gt_label(label) for label in (1, 2)]
    model.train()
    logged = model.train_step({'inputs': images, 'data_samples': samples}, wrapper)
    assert all(torch.isfinite(value) for value in logged.values())
    # Distributed training stops at a parameter without a gradient; AdamW skips it.
    assert {names[id(p)] for p in wrapper.optimizer.state} == set(names.values())
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    # The first step's gradient of these is zero but for rounding: a batch norm follows.
    assert all(name.endswith('.bias') for name in still), still
