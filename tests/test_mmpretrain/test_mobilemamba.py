"""MobileMamba's classification configs against the recipe, and a short training of one."""

import json

import pytest

pytest.importorskip('mmpretrain.models')

import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.registry import TRANSFORMS
from mmpretrain.structures import DataSample
from tool_runs import forget_runs, run_sample

from tinyvim_mm.commands import train
from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.models import MobileMamba
from tinyvim_mm.recipes.configs import load_config

SIZES = {'t2': 192, 't4': 192, 's6': 224, 'b1': 256, 'b2': 384, 'b4': 512}
EPOCHS = (300, 1000)
FOLDER = PROJECT_ROOT / 'configs' / 'mmpretrain'


@pytest.fixture(params=SIZES)
def arch(request):
    return request.param


@pytest.fixture(params=EPOCHS)
def epochs(request):
    return request.param


@pytest.fixture
def cfg(arch, epochs):
    init_default_scope('mmpretrain')
    return load_config(FOLDER / f'mobilemamba_{arch}_{epochs}e_in1k.py')


def test_there_is_a_config_of_each_size_and_length():
    found = {path.stem for path in FOLDER.glob('mobilemamba_*.py')}
    assert found == {f'mobilemamba_{a}_{e}e_in1k' for a in SIZES for e in EPOCHS}


def test_the_recipe_is_the_published_one(arch, epochs, cfg):
    assert cfg.model.backbone.arch == arch
    assert cfg.model.backbone.drop_path_rate == (0.03 if arch[0] == 'b' else 0)
    assert cfg.model.head.in_channels == MobileMamba.arch_settings[arch].embed_dims[-1]
    assert cfg.model.head.norm_after_pool is True
    assert cfg.model.head.loss == {'type': 'LabelSmoothLoss', 'label_smooth_val': 0.1}
    assert {a.type: a.alpha for a in cfg.model.train_cfg.augments} == {'Mixup': 0.8, 'CutMix': 1.0}
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.optim_wrapper.optimizer == {'type': 'AdamW', 'lr': 3e-3, 'weight_decay': 0.05}
    assert cfg.optim_wrapper.clip_grad == {'max_norm': 5.0}
    assert cfg.train_cfg.max_epochs == epochs
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.start_factor, warm_up.end) == (1e-3, 20)
    assert (cosine.begin, cosine.end, cosine.eta_min) == (20, epochs, 3e-5)
    assert warm_up.convert_to_iter_based
    assert cosine.convert_to_iter_based
    (hook,) = cfg.custom_hooks
    assert 1 - hook.momentum == pytest.approx(0.9998)


def test_only_the_long_recipe_has_a_teacher(epochs, cfg):
    if epochs == 300:
        assert cfg.model.get('distillation') is None
        return
    found = cfg.model.distillation
    assert (found.type, found.weight, found.image_size) == ('soft', 5.0, 224)
    assert (found.teacher.type, found.teacher.model_name) == ('TimmClassifier', 'tresnet_v2_l')
    # In [0, 1], as RGB.
    assert found.teacher.data_preprocessor == dict(mean=[0] * 3, std=[255] * 3, to_rgb=True)


def test_timm_has_the_teacher_as_the_recipe_feeds_it():
    timm = pytest.importorskip('timm')
    found = load_config(FOLDER / 'mobilemamba_t2_1000e_in1k.py').model.distillation
    tag = f'{found.teacher.model_name}.miil_in21k_ft_in1k'
    facts = timm.models.get_pretrained_cfg(tag)
    assert facts.num_classes == 1000
    assert facts.input_size == (3, found.image_size, found.image_size)
    assert (facts.mean, facts.std) == ((0, 0, 0), (1, 1, 1))


def test_a_step_with_a_teacher(tmp_path):
    init_default_scope('mmpretrain')
    cfg = load_config(FOLDER / 'mobilemamba_t2_1000e_in1k.py')
    teacher = {
        'type': 'ImageClassifier',
        'backbone': {'type': 'MobileNetV2', 'widen_factor': 0.1, 'out_indices': (7,)},
        'neck': {'type': 'GlobalAveragePooling'},
        'head': {'type': 'LinearClsHead', 'num_classes': 1000, 'in_channels': 1280},
    }
    network = MODELS.build({**teacher, '_scope_': 'mmpretrain'})
    torch.save(network.state_dict(), tmp_path / 'teacher.pth')
    norm = cfg.model.distillation.teacher.data_preprocessor
    cfg.model.distillation.teacher = {**teacher, 'data_preprocessor': norm}
    cfg.model.distillation.checkpoint = str(tmp_path / 'teacher.pth')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model).train()
    model.teacher.load()
    seen = []
    model.teacher.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    samples = [DataSample().set_gt_label(label) for label in (1, 2)]
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    logged = model.train_step({'inputs': images, 'data_samples': samples}, wrapper)
    assert set(logged) == {'loss', 'loss_label', 'loss_teacher'}
    assert all(torch.isfinite(value) for value in logged.values())
    (given,) = seen
    assert given.shape == (2, 3, 224, 224)
    assert -1e-5 < given.min() < 0.2
    assert 0.8 < given.max() < 1 + 1e-5
    names = {id(p): name for name, p in model.named_parameters()}
    # Distributed training stops at a parameter without a gradient; AdamW skips it.
    assert {names[id(p)] for p in wrapper.optimizer.state} == set(names.values())
    moved = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert 'head.head.weight' in moved


def test_pictures_have_the_size_of_the_network(arch, cfg):
    size = SIZES[arch]
    load, choice, flip, augment, erasing, _ = cfg.train_dataloader.dataset.pipeline
    crops = [crop for (crop,) in choice.transforms]
    assert [crop.scale for crop in crops] == [size, size]
    assert {crop.interpolation for crop in crops} == {'bilinear', 'bicubic'}
    assert (augment.magnitude_level, augment.total_level, augment.magnitude_std) == (9, 10, 0.5)
    assert (erasing.erase_prob, erasing.mode) == (0.25, 'rand')
    _, resize, crop, _ = cfg.test_dataloader.dataset.pipeline
    assert (resize.scale, crop.crop_size) == (int(size / 0.875), size)
    assert resize.interpolation == 'bicubic'
    for step in (load, choice, flip, augment, erasing, resize, crop):
        TRANSFORMS.build(step)


def test_vectors_take_no_weight_decay():
    init_default_scope('mmpretrain')
    cfg = load_config(FOLDER / 'mobilemamba_t2_300e_in1k.py')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    spared = {id(p) for g in groups for p in g['params'] if g['weight_decay'] == 0}
    for name, parameter in model.named_parameters():
        vector = parameter.dim() == 1 or name.endswith('.bias')
        assert (id(parameter) in spared) == vector, name


def test_it_trains_and_predicts_on_the_shipped_pictures(tmp_path, monkeypatch):
    from mmpretrain import ImageClassificationInferencer

    monkeypatch.chdir(tmp_path)
    size = 'train_dataloader.dataset.pipeline.1.transforms'
    options = [
        f'{size}.0.0.scale=64',
        f'{size}.1.0.scale=64',
        'train_dataloader.dataset.indices=4',
        'train_dataloader.batch_size=2',
        'test_dataloader.dataset.pipeline.1.scale=73',
        'test_dataloader.dataset.pipeline.2.crop_size=64',
        'test_dataloader.dataset.indices=2',
        'train_cfg.max_epochs=1',
        'default_hooks.checkpoint.interval=1',
    ]
    name = 'mobilemamba_t2_300e_in1k'
    run_sample(train.main, name, '--work-dir', tmp_path / 'run', options=options)
    metrics = json.loads((tmp_path / 'run' / 'metrics.json').read_text())
    assert metrics['steps'] == 2
    inferencer = ImageClassificationInferencer(
        str(tmp_path / 'run' / f'{name}.py'),
        pretrained=str(tmp_path / 'run' / 'epoch_1.pth'),
        device='cpu',
    )
    picture = next((PROJECT_ROOT / 'data' / 'sample' / 'imagenet' / 'val' / 'dog').iterdir())
    (found,) = inferencer(str(picture))
    assert found['pred_scores'].sum() == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(torch.as_tensor(found['pred_scores'])).all()
    forget_runs()
