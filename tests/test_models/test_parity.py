"""Agreement with the released network, in numbers and in keys."""

import golden
import pytest
import torch
from scan_cases import RUNNABLE

from tinyvim_mm.models import DistillationClassifier, TinyViM
from tinyvim_mm.ops import available_backends
from tinyvim_mm.weights.keys import translate_key

PARAMETERS = {'s': 5_909_084, 'b': 11_514_236, 'l': 32_380_256}
CLASSIFIER = ('norm', 'head', 'dist_head')


@pytest.fixture(scope='module')
def released():
    return golden.released_state_dict('s')


# Triton's interpreter needs two minutes.
@pytest.fixture(params=[*RUNNABLE, pytest.param('triton', marks=pytest.mark.slow)])
def backbone(released, request):
    obstacle = available_backends('cpu')[request.param]
    if obstacle is not None:  # Triton where it is not installed
        pytest.skip(str(obstacle))
    model = TinyViM('s', ssm_backend=request.param)
    model.load_state_dict({k: v for k, v in released.items() if not is_classifier(k)})
    return model


def is_classifier(key):
    return key.split('.')[0] in CLASSIFIER


def image(name):
    return golden.golden_input(f'image-{name}', {'a': (1, 3, 224, 224), 'b': (2, 3, 96, 160)}[name])


@pytest.mark.parametrize('name', ['a', 'b'])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_feature_maps(backbone, name, memory_format):
    expected = golden.load(f'tinyvim_s_image_{name}')
    backbone.eval().to(memory_format=memory_format)
    with torch.no_grad():
        features = backbone(image(name).to(memory_format=memory_format))
    for i, feature in enumerate(features):
        golden.assert_close(f'map {i}', feature, expected[f'feat_{name}_{i}'], golden.FEATURE_LIMIT)


def test_logits(released):
    backbone = TinyViM('s', out_indices=(3,), normalize_outputs=False).eval()
    backbone.load_state_dict(
        {
            k: v
            for k, v in released.items()
            if not is_classifier(k) and k not in golden.released_keys('s', 'dense_norms')
        }
    )
    classifier = DistillationClassifier(224).eval()
    classifier.load_state_dict({k: v for k, v in released.items() if is_classifier(k)})
    with torch.no_grad():
        logits = classifier(backbone(image('a'))[0])
    expected = golden.load('tinyvim_s_image_a')['logits_a']
    golden.assert_close('logits', logits, expected, golden.FEATURE_LIMIT)


def test_training_loss_and_gradients(backbone):
    expected = golden.load('tinyvim_s_training')
    x = image('b').requires_grad_()
    loss = 0
    for i, out in enumerate(backbone.train()(x)):
        cotangent = golden.golden_input(f'cotangent-{i}', out.shape)
        loss = loss + (out * cotangent).sum() / out[0].numel() ** 0.5
    loss.backward()

    assert loss.item() == pytest.approx(expected['train_loss'].item(), rel=golden.FEATURE_LIMIT)
    golden.assert_close('input', x.grad, expected['grad_input'], golden.GRADIENT_LIMIT)
    parameters = dict(backbone.named_parameters())
    released_names = [key for key in expected if key.startswith('grad/')]
    assert len(released_names) > 50
    for name in released_names:
        own = translate_key(name.removeprefix('grad/'), TinyViM.released_key_rules)
        if own.endswith('.ss2d.out_norm.bias'):
            # Zero but for rounding: a batch norm follows.
            assert (parameters[own].grad - expected[name]).abs().max() < 1e-5
        else:
            limit = golden.GRADIENT_LIMIT
            golden.assert_close(own, parameters[own].grad, expected[name], limit)


@pytest.mark.parametrize('arch', ['s', 'b', 'l'])
def test_released_keys_are_exactly_the_keys_of_the_model(arch):
    keys = golden.released_keys(arch)
    classifier = {key for key in keys if is_classifier(key)}
    backbone = TinyViM(arch, normalize_outputs=False)
    own = {key: tuple(value.shape) for key, value in backbone.state_dict().items()}
    translated = {
        translate_key(key, TinyViM.released_key_rules): shape
        for key, shape in keys.items()
        if key not in classifier
    }
    assert translated == own

    dense = TinyViM(arch).out_norms.state_dict()
    released = golden.released_keys(arch, 'dense_norms')
    assert {
        translate_key(key, TinyViM.released_key_rules): shape for key, shape in released.items()
    } == {f'out_norms.{key}': tuple(value.shape) for key, value in dense.items()}

    head = DistillationClassifier(backbone.embed_dims[-1]).state_dict()
    assert {key: keys[key] for key in classifier} == {k: tuple(v.shape) for k, v in head.items()}


@pytest.mark.parametrize('arch', ['s', 'b', 'l'])
def test_parameter_counts(arch):
    backbone = TinyViM(arch, normalize_outputs=False)
    classifier = DistillationClassifier(backbone.embed_dims[-1])
    parameters = [*backbone.parameters(), *classifier.parameters()]
    assert sum(p.numel() for p in parameters) == PARAMETERS[arch]
