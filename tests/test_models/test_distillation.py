"""Hard and soft distillation, and the classifier for mmpretrain."""

import copy

import golden
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('mmpretrain.models')

from mmengine.hooks import EMAHook
from mmengine.model import BaseModel, ExponentialMovingAverage
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from mmpretrain.structures import DataSample
from tool_runs import forget_runs

from tinyvim_mm.core.environment import MissingPackageError
from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.training.fit import FitHook
from tinyvim_mm.training.runner import ToolRunner

CLASSES = 5
STUDENT_NORM = {'mean': [120.0, 110.0, 100.0], 'std': [60.0, 50.0, 40.0], 'to_rgb': True}
TEACHER = {
    'type': 'ImageClassifier',
    'backbone': {'type': 'MobileNetV2', 'widen_factor': 0.1, 'out_indices': (7,)},
    'neck': {'type': 'GlobalAveragePooling'},
    'head': {'type': 'LinearClsHead', 'num_classes': CLASSES, 'in_channels': 1280},
}


def build_teacher(**changes):
    torch.manual_seed(3)
    return MODELS.build({**copy.deepcopy(TEACHER), **changes, '_scope_': 'mmpretrain'}).eval()


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save({'state_dict': build_teacher().state_dict(), 'meta': {}}, path)
    return str(path)


def build(distillation=None, classes=CLASSES, arch=None, **changes):
    torch.manual_seed(1)
    arch = arch or {'embed_dims': (8, 8, 16, 16), 'depths': (1, 1, 1, 1)}
    width = {'s': 224}.get(arch) if isinstance(arch, str) else arch['embed_dims'][-1]
    return MODELS.build(
        {
            '_scope_': 'mmpretrain',
            'type': 'tinyvim_mm.DistilledClassifier',
            'backbone': {
                'type': 'tinyvim_mm.TinyViM',
                'arch': arch,
                'out_indices': (3,),
                'normalize_outputs': False,
            },
            'head': {
                'type': 'tinyvim_mm.DistillationHead',
                'in_channels': width,
                'num_classes': classes,
                'loss': {'type': 'LabelSmoothLoss', 'label_smooth_val': 0.1},
            },
            'distillation': distillation,
            'data_preprocessor': {'num_classes': classes, **STUDENT_NORM},
            **changes,
        }
    )


def hard(checkpoint, **changes):
    return {'type': 'hard', 'alpha': 0.5, 'teacher': TEACHER, 'checkpoint': checkpoint, **changes}


def soft(checkpoint, **changes):
    return {'type': 'soft', 'weight': 5.0, 'teacher': TEACHER, 'checkpoint': checkpoint, **changes}


def batch(size=4, mixed=False):
    images = torch.randn(size, 3, 64, 64)
    labels = torch.arange(size) % CLASSES
    samples = [DataSample().set_gt_label(label) for label in labels]
    scores = F.one_hot(labels, CLASSES).float()
    if mixed:
        scores = 0.7 * scores + 0.3 * scores.flip(0)
        for sample, score in zip(samples, scores, strict=True):
            sample.set_gt_score(score)
    return images, samples, scores


# -- losses -------------------------------------------------------------------------


@pytest.mark.parametrize('mixed', [False, True])
@pytest.mark.parametrize('alpha', [0.5, 0.2, 1.0])
def test_the_loss_is_the_one_of_hard_distillation(mixed, alpha, checkpoint):
    images, samples, scores = batch(mixed=mixed)
    model = build(hard(checkpoint, alpha=alpha)).train()
    losses = model(images, samples, mode='loss')
    total, logged = model.parse_losses(losses)
    with torch.no_grad():
        logits, distilled = model.head(model.backbone(images))
        labels = build_teacher()(images).argmax(1)
    smoothed = 0.9 * scores + 0.1 / CLASSES
    by_labels = -(smoothed * logits.log_softmax(1)).sum(1).mean()
    by_teacher = -distilled.log_softmax(1)[range(4), labels].mean()
    torch.testing.assert_close(total.detach(), (1 - alpha) * by_labels + alpha * by_teacher)
    assert set(logged) == {'loss', 'loss_label', 'loss_teacher'}


@pytest.mark.parametrize('mixed', [False, True])
@pytest.mark.parametrize('weight', [5.0, 0.5])
def test_the_loss_is_the_one_of_soft_distillation(mixed, weight, checkpoint):
    images, samples, scores = batch(mixed=mixed)
    model = build(soft(checkpoint, weight=weight)).train()
    assert model.head.dist_head is None
    # Of random weights, the teacher finds all classes alike.
    opinions = 2 * torch.randn(len(images), CLASSES)
    model.teacher.logits = lambda *_: opinions
    total, logged = model.parse_losses(model(images, samples, mode='loss'))
    with torch.no_grad():
        found = model.head(model.backbone(images)).softmax(1)
    # By hand: each image's divergence, a sum over the classes, then their mean.
    divergences = [
        sum(q * (q / p).log() for p, q in zip(mine, theirs, strict=True))
        for mine, theirs in zip(found, opinions.softmax(1), strict=True)
    ]
    by_teacher = sum(divergences) / len(images)
    assert by_teacher > 0.1
    smoothed = 0.9 * scores + 0.1 / CLASSES
    by_labels = -(smoothed * found.log()).sum(1).mean()
    torch.testing.assert_close(total.detach(), by_labels + weight * by_teacher)
    assert logged['loss_label'].item() == pytest.approx(by_labels.item(), rel=1e-5)
    assert logged['loss_teacher'].item() == pytest.approx(weight * by_teacher.item(), rel=1e-4)


def test_a_student_that_agrees_with_the_teacher_has_the_plain_loss(checkpoint):
    images, samples, _ = batch()
    model = build(soft(checkpoint)).train()
    model.teacher.logits = lambda *_: model.head(model.backbone(images)).detach() + 3
    _, logged = model.parse_losses(model(images, samples, mode='loss'))
    assert logged['loss_teacher'].item() == pytest.approx(0, abs=1e-5)


def test_all_of_a_softly_taught_student_learns(checkpoint):
    images, samples, _ = batch()
    model = build(soft(checkpoint)).train()
    sum(model(images, samples, mode='loss').values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert not any(p.grad is not None for p in model.teacher.model.parameters())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_divergence_is_of_single_precision_under_autocast(dtype, checkpoint):
    images, samples, _ = batch()
    model = build(soft(checkpoint)).train()
    with torch.autocast('cpu', dtype):
        losses = model(images, samples, mode='loss')
    assert losses['loss_teacher'].dtype == torch.float32
    assert losses['loss_teacher'].isfinite()


@pytest.mark.parametrize('size', [(64, 64), (40, 72)])
def test_the_teacher_gets_images_of_its_size(size, checkpoint):
    model = build(soft(checkpoint, image_size=48))
    model.teacher.load()
    seen = []
    model.teacher.model.forward = lambda x: seen.append(x) or torch.zeros(len(x), CLASSES)
    flat = torch.full((2, 3, *size), 0.25)
    model.teacher.logits(flat, model, CLASSES)
    torch.testing.assert_close(seen[0], torch.full((2, 3, 48, 48), 0.25))
    own = torch.randn(2, 3, 48, 48)
    model.teacher.logits(own, model, CLASSES)
    assert seen[1] is own


@pytest.mark.parametrize('kind', [hard, soft])
def test_a_student_may_know_a_part_of_the_teachers_classes(kind, checkpoint):
    model = build(kind(checkpoint, classes=[4, 0, 2]), classes=3)
    images, _, _ = batch()
    whole = model.teacher.logits(images, model, 3)
    every = build(kind(checkpoint)).teacher.logits(images, model, CLASSES)
    assert torch.equal(whole, every[:, [4, 0, 2]])
    labels = [0, 1, 2, 0]
    samples = [DataSample().set_gt_label(label) for label in labels]
    assert model.train()(images, samples, mode='loss')['loss_teacher'].isfinite()


@pytest.mark.parametrize(
    ('classes', 'message'),
    [([0, 1], 'lists 2 classes up to number 1, for a student of 3'), ([0, 1, 5], 'of 5, counted')],
)
def test_classes_that_the_teacher_lacks_are_named(classes, message, checkpoint):
    model = build(hard(checkpoint, classes=classes), classes=3)
    with pytest.raises(ValueError, match=message):
        model.teacher.logits(batch()[0], model, 3)


def test_both_layers_and_the_backbone_learn(checkpoint):
    images, samples, _ = batch()
    model = build(hard(checkpoint)).train()
    sum(model(images, samples, mode='loss').values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []
    assert model.head.head.weight.grad.abs().sum() > 0
    assert model.head.dist_head.weight.grad.abs().sum() > 0


def test_without_distillation_there_is_one_layer_and_the_plain_loss():
    images, samples, scores = batch(mixed=True)
    model = build(None).train()
    assert model.head.dist_head is None
    losses = model(images, samples, mode='loss')
    assert set(losses) == {'loss'}
    logits = model.head(model.backbone(images)).detach()
    smoothed = 0.9 * scores + 0.1 / CLASSES
    expected = -(smoothed * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(losses['loss'].detach(), expected)


def test_prediction_takes_the_mean_of_both_layers(checkpoint):
    model = build(hard(checkpoint)).eval()
    images, samples, _ = batch()
    with torch.no_grad():
        pooled = model.extract_feat(images, stage='pre_logits')
        found = model(images, samples, mode='predict')
        logits = (model.head.head(pooled) + model.head.dist_head(pooled)) / 2
        torch.testing.assert_close(model(images), logits)
    scores = torch.stack([sample.pred_score for sample in found])
    torch.testing.assert_close(scores, logits.softmax(1))
    assert [int(sample.pred_label) for sample in found] == logits.argmax(1).tolist()
    assert model.teacher.model is None  # inference needs no teacher


# -- the teacher --------------------------------------------------------------------


def test_the_teacher_is_no_part_of_the_student(checkpoint):
    model = build(hard(checkpoint))
    keys = set(model.state_dict())
    model.init_weights()
    network = model.teacher.model
    assert network is not None
    assert set(model.state_dict()) == keys
    own = {id(p) for p in model.parameters()}
    assert not any(id(p) in own or p.requires_grad for p in network.parameters())
    model.train()
    assert not any(module.training for module in network.modules())
    assert ExponentialMovingAverage(model).module.teacher.model is network


def test_a_step_leaves_the_teacher_as_it_is(checkpoint):
    images, samples, _ = batch()
    model = build(hard(checkpoint)).train()
    sum(model(images, samples, mode='loss').values()).backward()
    expected = build_teacher().state_dict()
    for key, value in model.teacher.model.state_dict().items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize(
    'norm',
    [
        {'mean': [127.5] * 3, 'std': [127.5] * 3, 'to_rgb': True},
        {'mean': [1.0, 2.0, 3.0], 'std': [4.0, 5.0, 6.0], 'to_rgb': False},
        {'to_rgb': True},
        STUDENT_NORM,
    ],
)
def test_the_teacher_sees_the_images_normalized_in_its_own_way(norm, checkpoint):
    cfg = {**TEACHER, 'data_preprocessor': norm}
    model = build(hard(checkpoint, teacher=cfg))
    seen = []
    model.init_weights()
    model.teacher.model.forward = lambda x: seen.append(x) or torch.zeros(len(x), CLASSES)
    raw = {'inputs': [torch.randint(0, 256, (3, 64, 64)) for _ in range(2)]}
    inputs = model.data_preprocessor(copy.deepcopy(raw))['inputs']
    model.teacher.label(inputs, model, CLASSES)
    expected = model.teacher.model.data_preprocessor(raw)['inputs']
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)


def test_any_model_may_teach_and_timm_is_asked_for_by_name(checkpoint, monkeypatch, tmp_path):
    cfg = {'type': 'TimmClassifier', 'model_name': 'regnety_160'}
    monkeypatch.setattr(
        'tinyvim_mm.models.classifiers.teacher.find_spec',
        lambda name: None if name == 'timm' else 1,
    )
    with pytest.raises(
        MissingPackageError, match=r"regnety_160 is a model of timm.*pip install 'timm>="
    ):
        build(hard(checkpoint, teacher=cfg)).init_weights()

    @MODELS.register_module(name='StubTimmClassifier', force=True)
    class Stub(BaseModel):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, CLASSES)

        def forward(self, inputs):
            return self.linear(inputs.mean((2, 3)))

    stub = Stub()
    path = tmp_path / 'stub.pth'
    torch.save(stub.state_dict(), path)
    monkeypatch.setattr('tinyvim_mm.models.classifiers.teacher.find_spec', lambda name: 1)
    model = build(hard(str(path), teacher={'type': 'StubTimmClassifier'}))
    images, _, _ = batch()
    assert torch.equal(model.teacher.label(images, model, CLASSES), stub(images).argmax(1))


def test_timm_teaches_where_it_is_installed(tmp_path):
    timm = pytest.importorskip('timm')
    network = timm.create_model('regnety_002', num_classes=CLASSES).eval()
    path = tmp_path / 'regnety.pth'
    torch.save({'model': network.state_dict()}, path)
    cfg = {'type': 'TimmClassifier', 'model_name': 'regnety_002', 'num_classes': CLASSES}
    model = build(hard(str(path), teacher=cfg))
    images, _, _ = batch()
    assert torch.equal(model.teacher.label(images, model, CLASSES), network(images).argmax(1))


def foreign(key, blocks, widening):
    """The key that ``efficientnet_pytorch`` has for one of timm's."""
    block = next((block for block in blocks if key.startswith(f'{block}.')), None)
    if block is None:
        first, rest = key.split('.')
        names = {'bn1': '_bn0', 'bn2': '_bn1', 'classifier': '_fc'}
        return f'{names.get(first, "_" + first)}.{rest}'
    wide = block in widening
    names = {
        'conv_pw': '_expand_conv' if wide else '_project_conv',
        'conv_dw': '_depthwise_conv',
        'conv_pwl': '_project_conv',
        **{f'bn{i}': f'_bn{i - wide}' for i in (1, 2, 3)},
    }
    part, rest = key[len(block) + 1 :].replace('se.conv_', '_se_').split('.')
    return f'_blocks.{blocks.index(block)}.{names.get(part, part)}.{rest}'


@pytest.mark.parametrize('name', ['tf_efficientnet_lite0', 'tf_efficientnet_b0'])
def test_timm_teaches_with_weights_of_efficientnet_pytorch(tmp_path, name):
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=CLASSES)
    own = network.state_dict()
    blocks = list(dict.fromkeys('.'.join(k.split('.')[:3]) for k in own if k.startswith('blocks')))
    widening = {key[: key.index('.conv_pwl')] for key in own if '.conv_pwl' in key}
    state = {foreign(key, blocks, widening): torch.rand_like(v.float()) for key, v in own.items()}
    assert len(state) == len(own)
    path = tmp_path / 'lite0.pth'
    torch.save(state, path)
    cfg = {'type': 'TimmClassifier', 'model_name': name, 'num_classes': CLASSES}
    model = build(hard(str(path), teacher=cfg))
    model.init_weights()
    loaded = model.teacher.model.model.state_dict()
    for key, value in state.items():
        name = next(k for k in own if foreign(k, blocks, widening) == key)
        assert torch.equal(loaded[name], value.to(loaded[name].dtype)), key


def test_a_block_too_many_of_a_teacher_is_named(tmp_path):
    pytest.importorskip('timm')
    path = tmp_path / 'lite.pth'
    weights = {'_conv_stem.weight': torch.ones(1), '_blocks.99._bn1.weight': torch.ones(1)}
    torch.save(weights, path)
    cfg = {'type': 'TimmClassifier', 'model_name': 'tf_efficientnet_lite0', 'num_classes': CLASSES}
    with pytest.raises(CheckpointError, match=r'does not fit[\s\S]*_blocks\.99\._bn1\.weight'):
        build(hard(str(path), teacher=cfg)).init_weights()


# -- mistakes -----------------------------------------------------------------------


def test_absent_weights_name_the_cures_before_the_first_step(tmp_path):
    with pytest.raises(CheckpointError) as error:
        build(hard(str(tmp_path / 'absent.pth'))).init_weights()
    message = str(error.value)
    assert 'weights of the teacher ImageClassifier' in message
    assert 'absent.pth does not exist' in message
    assert '--cfg-options model.distillation.checkpoint=FILE' in message
    assert '--cfg-options model.distillation=None' in message


def test_a_teacher_that_is_not_finite_is_refused(tmp_path):
    state = build_teacher().state_dict()
    state['head.fc.bias'] = torch.full((CLASSES,), torch.inf)
    torch.save(state, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=r'hold NaN or infinity: head\.fc\.bias'):
        build(hard(str(tmp_path / 'x.pth'))).init_weights()


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save({'backbone.conv1.conv.weight': torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r'does not fit the teacher ImageClassifier\.\n'):
        build(hard(str(path))).init_weights()


def test_code_in_the_weights_is_not_executed(tmp_path):
    path = tmp_path / 'hostile.pth'
    torch.save({'model': {}, 'meta': Hostile()}, path)
    with pytest.raises(CheckpointError, match='could execute code'):
        build(hard(str(path))).init_weights()


class Hostile:
    def __reduce__(self):
        return exec, ('raise SystemExit("code from a checkpoint was executed")',)


def test_a_teacher_of_other_classes_is_named(checkpoint):
    model = build(hard(checkpoint), classes=7).train()
    with pytest.raises(ValueError, match='distinguishes 5 classes and the student 7: say which'):
        model(*batch()[:2], mode='loss')


@pytest.mark.parametrize(
    ('distillation', 'message'),
    [
        ({'type': 'feature', 'teacher': TEACHER}, "must be 'hard' or 'soft', got 'feature'"),
        ({'type': 'soft', 'alpha': 0.5, 'teacher': TEACHER}, "soft distillation takes 'type', 'we"),
        ({'type': 'soft', 'weight': 0, 'teacher': TEACHER}, 'weight must be positive, got 0'),
        ({'type': 'soft', 'weight': 'x', 'teacher': TEACHER}, "must be positive, got 'x'"),
        ({'image_size': 0, 'teacher': TEACHER}, 'image_size must be a number of pixels, got 0'),
        ({'classes': [1, 1], 'teacher': TEACHER}, r'each once, got \[1, 1\]'),
        ({'classes': [], 'teacher': TEACHER}, r'each once, got \[\]'),
        ({'classes': [0.5], 'teacher': TEACHER}, r'each once, got \[0.5\]'),
        ({'alpha': 0.0, 'teacher': TEACHER}, r'alpha must be in \(0, 1\], got 0.0'),
        ({'alpha': 0.5}, "'teacher' .needed."),
        ({'teacher': TEACHER, 'weights': 'x.pth'}, "got 'teacher', 'weights'"),
        ({'teacher': 'regnety_160'}, r"teacher must be the config.*got 'regnety_160'"),
    ],
)
def test_a_wrong_setting_is_named(distillation, message):
    with pytest.raises(ValueError, match=message):
        build(distillation)


# -- released weights ---------------------------------------------------------------


@pytest.mark.parametrize('form', ['model', 'state_dict', 'bare', 'module'])
def test_released_weights_load_with_both_layers(form, tmp_path, caplog):
    released = golden.released_state_dict('s', dense_norms=False)
    content = {
        'model': {'model': released, 'epoch': 299},
        'state_dict': {'state_dict': released},
        'bare': released,
        'module': {'model': {f'module.{key}': value for key, value in released.items()}},
    }[form]
    path = tmp_path / 'released.pth'
    torch.save(content, path)
    model = build(hard(None), classes=1000, arch='s').eval()
    load_checkpoint(model, str(path), map_location='cpu', strict=True)
    x = golden.golden_input('image-a', (1, 3, 224, 224))
    with torch.no_grad():
        logits = model(x)
    expected = golden.load('tinyvim_s_image_a')['logits_a']
    golden.assert_close('logits', logits, expected, golden.FEATURE_LIMIT)


def test_own_checkpoints_load_as_they_are():
    model, again = build(hard(None)), build(hard(None))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    again.load_state_dict(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def load_as_the_tools_do(model, content, folder):
    """With the moving average of the recipe, which loads the same file."""
    forget_runs()
    torch.save(content, folder / 'x.pth')
    average = dict(type='EMAHook', update_buffers=True)
    runner = ToolRunner(model, str(folder), load_from=str(folder / 'x.pth'), custom_hooks=[average])
    runner.register_hook(FitHook(partial=False))
    runner.call_hook('before_run')
    runner.load_or_resume()
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, EMAHook))
    forget_runs()
    return hook.ema_model.module


@pytest.mark.parametrize('wrapper', ['model', 'state_dict', None])
def test_released_weights_are_evaluated_whole(wrapper, tmp_path):
    # Norms of dense predictions are no part of a classifier.
    released = golden.released_state_dict('s', dense_norms=True)
    model = build(hard(None), classes=1000, arch='s')
    average = load_as_the_tools_do(model, {wrapper: released} if wrapper else released, tmp_path)
    for network in (model, average):
        assert torch.equal(network.head.dist_head.bias, released['dist_head.bias'])
        assert torch.equal(network.backbone.stem[0].conv.weight, released['patch_embed.0.c.weight'])


def test_a_student_is_evaluated_with_both_layers_or_not_at_all(tmp_path):
    student = build(hard(None))
    assert not any('teacher' in key for key in student.state_dict())
    load_as_the_tools_do(build(hard(None)), {'state_dict': student.state_dict()}, tmp_path)
    with pytest.raises(CheckpointError, match=r'2 unknown .*: head\.dist_head\.weight'):
        load_as_the_tools_do(build(), {'state_dict': student.state_dict()}, tmp_path)
    with pytest.raises(CheckpointError, match=r'2 missing .*: head\.dist_head\.weight'):
        load_as_the_tools_do(student, {'state_dict': build().state_dict()}, tmp_path)


# -- layer decay --------------------------------------------------------------------


def test_layers_are_counted_from_the_stem_to_the_head():
    model = build(None, arch={'embed_dims': (8, 8, 16, 16), 'depths': (2, 1, 3, 1)})
    depths = {}
    for name, _ in model.named_parameters():
        depth, number = model.get_layer_depth(name)
        assert number == 2 + 1 + 3 + 1 + 2
        depths.setdefault(depth, set()).add('.'.join(name.split('.')[:5]))
    assert sorted(depths) == list(range(9))
    assert {name.split('.')[1] for name in depths[0]} == {'stem'}
    for depth, block in enumerate(['0.0', '0.1', '1.0', '2.0', '2.1', '2.2', '3.0'], start=1):
        stage, index = block.split('.')
        inside = {n.rsplit('.', 1)[0] if 'downsample' in n else n for n in depths[depth]}
        expected = {f'backbone.stages.{stage}.blocks.{index}'}
        if index == '0' and stage != '0':
            expected.add(f'backbone.stages.{stage}.downsample')
        assert inside == expected
    assert {name.split('.')[0] for name in depths[8]} == {'head'}


def test_output_norms_belong_to_the_last_layer():
    model = MODELS.build({'type': 'tinyvim_mm.TinyViM', 'arch': 's'})
    assert model.get_layer_depth('backbone.out_norms.0.weight', 'backbone.') == (22, 23)
    assert model.get_layer_depth('stem.0.conv.weight') == (0, 23)


def test_the_moving_average_hook_shares_the_teacher(checkpoint):
    model = build(hard(checkpoint))
    model.init_weights()
    hook = EMAHook(momentum=4e-5, update_buffers=True)
    hook.before_run(type('Runner', (), {'model': model}))
    assert hook.ema_model.module.teacher is model.teacher
    assert hook.ema_model.module.head.head is not model.head.head
