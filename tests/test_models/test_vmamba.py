"""VMamba and EfficientVMamba: agreement with the released networks, structure, training."""

import copy
import json
import math
from functools import cache

import golden
import pytest
import torch
from scan_cases import RUNNABLE
from torch import nn
from torch_abilities import needs_tracing

from tinyvim_mm.conversion.layouts import convert
from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.models import EfficientVMamba, NormClassifier, VMamba, reparameterize
from tinyvim_mm.models.layers import (
    SS2D,
    DropPath,
    EVSSBlock,
    InvertedResidual,
    NormGate,
    PatchMerging,
)
from tinyvim_mm.weights.keys import translate_key

TINY = {'embed_dims': [8, 16, 24, 32], 'depths': [1, 2, 2, 1]}
CLASSES = {'vmamba_t': VMamba, 'efficientvmamba_t': EfficientVMamba}
# Largest relative errors of features and gradients in float32. VMamba's filling amplifies
# rounding; in EfficientVMamba a value beside the kink of a ReLU may round to its other side,
# and one of them moves gradients by 7e-5. What is exact is compared in float64.
LIMITS = {'vmamba_t': (5e-5, 1e-4), 'efficientvmamba_t': (1e-5, 5e-4)}
PARAMETERS = {
    (VMamba, 't'): 30_249_064,
    (VMamba, 't_s2l5'): 30_705_832,
    (VMamba, 's'): 50_147_752,
    (VMamba, 'b'): 88_557_800,
    (EfficientVMamba, 't'): 6_493_660,
    (EfficientVMamba, 's'): 11_273_688,
    (EfficientVMamba, 'b'): 33_717_136,
}
both = pytest.mark.parametrize('cls', [VMamba, EfficientVMamba])


@cache
def released_state(name, dense_norms=True):
    """A released checkpoint filled with golden values."""
    keys = json.loads((golden.FOLDER / f'{name}_keys.json').read_text())
    if dense_norms:
        for i, width in enumerate(CLASSES[name].arch_settings['t'].embed_dims):
            keys.update({f'outnorm{i}.{part}': [width] for part in ('weight', 'bias')})
    return {k: torch.from_numpy(golden.golden_tensor(k, tuple(s))) for k, s in keys.items()}


def without_classifier(state):
    return {key: value for key, value in state.items() if not key.startswith('classifier.')}


def build(name, backend=None, **options):
    model = CLASSES[name]('t', ssm_backend=backend, **options)
    state = released_state(name, options.get('normalize_outputs', True))
    model.load_state_dict(without_classifier(state))
    return model


def train_loss(model, image):
    loss = 0
    for i, out in enumerate(model.train()(image)):
        cotangent = golden.golden_input(f'cotangent-{i}', out.shape).to(out.dtype)
        loss = loss + (out * cotangent).sum() / out[0].numel() ** 0.5
    return loss


def randomize(model):
    """Give what starts as the identity values that count."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dim() == 1 and tensor.is_floating_point():
            tensor.data.add_(torch.rand(tensor.shape) * 0.3)
    return model


# -- the released networks --------------------------------------------------------


@pytest.mark.parametrize('name', CLASSES)
def test_feature_maps(name):
    model = build(name).eval().to(memory_format=torch.channels_last)
    expected = golden.load(f'{name}_image_a')
    limit = LIMITS[name][0]
    with torch.no_grad():
        image = golden.golden_input('image-a', (1, 3, 224, 224))
        features = model(image.to(memory_format=torch.channels_last))
    for i, feature in enumerate(features):
        if i < 2:
            means = expected[f'feat_a_{i}_mean']
            golden.assert_close(f'mean {i}', feature.mean((2, 3)), means, limit)
        else:
            golden.assert_close(f'map {i}', feature, expected[f'feat_a_{i}'], limit)


# Backends are compared with each other where the scan is tested.
@pytest.mark.parametrize('backend', RUNNABLE[:2])
@pytest.mark.parametrize('name', CLASSES)
def test_feature_maps_of_odd_sizes(name, backend):
    expected = golden.load(f'{name}_image_c')
    with torch.no_grad():
        features = build(name, backend).eval()(golden.golden_input('image-c', (1, 3, 102, 133)))
    for i, feature in enumerate(features):
        golden.assert_close(f'map {i}', feature, expected[f'feat_c_{i}'], LIMITS[name][0])


@pytest.mark.parametrize('name', CLASSES)
def test_logits(name):
    backbone = build(name, out_indices=(-1,), normalize_outputs=False).eval()
    head = NormClassifier(backbone.embed_dims[-1]).eval()
    state = released_state(name)
    head.load_state_dict(
        {k.removeprefix('classifier.'): v for k, v in state.items() if k.startswith('classifier.')}
    )
    with torch.no_grad():
        logits = head(backbone(golden.golden_input('image-a', (1, 3, 224, 224))))
    expected = golden.load(f'{name}_image_a')['logits_a']
    golden.assert_close('logits', logits, expected, LIMITS[name][0])


@pytest.mark.parametrize(
    ('name', 'dtype'),
    [
        ('vmamba_t', torch.float32),
        ('efficientvmamba_t', torch.float32),
        ('efficientvmamba_t', torch.float64),
    ],
)
def test_training_loss_and_gradients(name, dtype):
    expected = golden.load(f'{name}_training')
    model = build(name).to(dtype)
    x = golden.golden_input('image-b', (2, 3, 96, 160)).to(dtype).requires_grad_()
    loss = train_loss(model, x)
    loss.backward()

    exact = dtype == torch.float64
    limit = 1e-6 if exact else LIMITS[name][1]
    assert loss.item() == pytest.approx(expected['train_loss'].item(), abs=1e-6 if exact else 1e-4)
    golden.assert_close('input', x.grad, expected['grad_input'], limit)
    parameters = dict(model.named_parameters())
    released_names = [key for key in expected if key.startswith('grad/')]
    assert len(released_names) > 30
    for key in released_names:
        own = translate_key(key.removeprefix('grad/'), model.released_key_rules)
        golden.assert_close(own, parameters[own].grad, expected[key], limit)


@pytest.mark.parametrize(('cls', 'arch'), PARAMETERS)
def test_parameter_counts(cls, arch):
    with torch.device('meta'):
        backbone = cls(arch, normalize_outputs=False)
        head = NormClassifier(backbone.embed_dims[-1])
    parameters = [*backbone.parameters(), *head.parameters()]
    assert sum(p.numel() for p in parameters) == PARAMETERS[cls, arch]
    assert cls.find_arch(backbone.state_dict()) == arch


# -- checkpoints ------------------------------------------------------------------


@pytest.mark.parametrize('name', CLASSES)
def test_a_released_classifier_there_and_back(name):
    state = released_state(name, dense_norms=False)
    project = convert({'model': state}, 'file')
    assert (project.backbone, project.arch, project.source_layout) == (
        CLASSES[name],
        't',
        'released',
    )
    back = convert({'state_dict': project.state}, 'file', to='released').state
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize(('cls', 'arch'), PARAMETERS)
def test_names_of_every_architecture_there_and_back(cls, arch):
    with torch.device('meta'):
        own = cls(arch).state_dict()
    back = cls.rules_to_released(own)
    released = [translate_key(key, back) for key in own]
    assert not set(released) & set(own)
    assert [translate_key(key, cls.released_key_rules) for key in released] == list(own)
    if cls is EfficientVMamba:
        third = {int(key.split('.')[2]) for key in released if key.startswith('layers.2.')}
        assert max(third) == cls.arch_settings[arch].depths[2] + 2


def test_projections_stored_as_convolutions_load(tmp_path):
    state = without_classifier(released_state('vmamba_t', dense_norms=False))
    for key, value in state.items():
        if 'proj.weight' in key or ('.fc' in key and key.endswith('.weight')):
            state[key] = value[:, :, None, None]
    model = VMamba('t', normalize_outputs=False)
    model.load_state_dict(state)
    expected = build('vmamba_t', normalize_outputs=False).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    torch.save({'model': state}, tmp_path / 'w.pth')
    VMamba('t', normalize_outputs=False).load_pretrained(str(tmp_path / 'w.pth'))


def test_names_of_older_releases_load(tmp_path):
    model = VMamba('t')
    former = {}
    for key, value in released_state('vmamba_t', dense_norms=False).items():
        key = key.replace('.op.', '.self_attention.').replace('classifier.', '')
        key = key.replace('.norm.', '.ln_1.') if key.startswith('layers.') else key
        former[key] = value
    torch.save({'model': former}, tmp_path / 'w.pth')
    model.load_pretrained(str(tmp_path / 'w.pth'))
    assert torch.equal(
        model.stages[0].blocks[0].norm.weight, former['layers.0.blocks.0.ln_1.weight']
    )


def test_a_checkpoint_of_another_form_is_recognized(tmp_path):
    state = released_state('vmamba_t')
    torch.save({'model': state}, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match="It holds VMamba-T: build with arch='t'"):
        VMamba('t_s2l5').load_pretrained(str(tmp_path / 'w.pth'))
    with pytest.raises(CheckpointError, match='does not fit EfficientVMamba-T'):
        EfficientVMamba('t').load_pretrained(str(tmp_path / 'w.pth'))


# -- structure --------------------------------------------------------------------


@both
@pytest.mark.parametrize('size', [(32, 32), (33, 47), (200, 250), (97, 64)])
def test_any_size_gives_four_maps_and_trains(cls, size):
    model = cls(TINY, drop_path_rate=0.1).train()
    outputs = model(torch.randn(2, 3, *size))
    sides = [(side + 3) // 4 if cls is VMamba else side // 4 for side in size]
    for out, channels in zip(outputs, TINY['embed_dims'], strict=True):
        assert out.shape == (2, channels, *sides)
        sides = [math.ceil(side / 2) for side in sides]
    sum(out.square().sum() for out in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_blocks_of_the_stages():
    model = EfficientVMamba('t')
    kinds = [{type(block) for block in stage.blocks} for stage in model.stages]
    assert kinds == [{EVSSBlock}, {EVSSBlock}, {InvertedResidual}, {InvertedResidual}]
    assert sum(isinstance(m, SS2D) for m in model.modules()) == 4
    with torch.device('meta'):
        expansions = {
            arch: VMamba(arch).stages[0].blocks[0].mixer.conv.in_channels // width
            for arch, width in (('t', 96), ('t_s2l5', 96), ('s', 96), ('b', 128))
        }
    assert expansions == {'t': 1, 't_s2l5': 2, 's': 2, 'b': 2}


def test_merging_takes_columns_before_rows():
    layer = PatchMerging(1, 4)
    layer.norm, layer.reduction = nn.Identity(), nn.Identity()
    cells = layer(torch.arange(1.0, 10).reshape(1, 1, 3, 3))
    assert cells[0, :, 0, 0].tolist() == [1, 4, 2, 5]
    assert cells[0, :, 1, 1].tolist() == [9, 0, 0, 0]


def test_the_gate_scales_the_map_and_not_its_norm():
    gate = NormGate(16)
    nn.init.zeros_(gate.fc2.weight)
    nn.init.zeros_(gate.fc2.bias)
    x = torch.randn(2, 16, 3, 4)
    torch.testing.assert_close(gate(x), x / 2)


@both
def test_initial_values(cls):
    with torch.device('cpu'):
        model = cls('t')
    mixer = model.stages[0].blocks[0].mixer
    width = mixer.conv.in_channels
    scan = mixer.ss2d
    states = torch.arange(1.0, scan.A_logs.shape[1] + 1)
    assert torch.allclose(scan.A_logs.exp(), states.expand_as(scan.A_logs))
    assert (scan.Ds == 1).all()
    assert scan.x_proj_weight.abs().max() <= width**-0.5
    assert scan.x_proj_weight.std().item() == pytest.approx((3 * width) ** -0.5, rel=0.05)
    assert mixer.in_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert scan.dt_projs_weight.shape[-1] == math.ceil(model.embed_dims[0] / 16)
    assert model.stem[0].bias.abs().max() > 0  # as PyTorch initializes convolutions


@both
def test_drop_path_rises_linearly(cls):
    model = cls(TINY, drop_path_rate=0.2)
    rates = [m.rate for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.2 * i / 5 for i in range(6)])


@both
def test_checkpointing_changes_nothing_but_memory(cls):
    plain = cls(TINY, drop_path_rate=0.3).train()
    saving = copy.deepcopy(plain)
    saving.with_cp = True
    x, results = torch.randn(2, 3, 64, 64), []
    for model in (plain, saving):
        torch.manual_seed(1)
        outputs = model(x)
        sum(out.square().sum() for out in outputs).backward()
        results.append([*outputs, *(p.grad for p in model.parameters()), *model.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@both
def test_frozen_stages_and_layer_depth(cls):
    model = cls(TINY, frozen_stages=1).train()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in model.named_parameters() if n.startswith(('stem.', 'stages.0'))}
    depths = {model.get_layer_depth(name)[0] for name, _ in model.named_parameters()}
    assert depths == set(range(sum(TINY['depths']) + 2))


@both
def test_the_deployed_form_computes_the_same(cls):
    model = randomize(cls(TINY)).eval()
    deployed = reparameterize(model)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in deployed.modules())
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for out, expected in zip(deployed(x), model(x), strict=True):
            golden.assert_close('deployed', out, expected, 1e-5)


@both
def test_half_precision_keeps_the_scan_in_single(cls):
    model = cls(TINY).eval()
    x = torch.randn(1, 3, 64, 64)
    seen = set()
    with torch.no_grad():
        expected = model(x)
        for layer in model.modules():
            if isinstance(layer, SS2D):
                scan = layer.scan
                layer.scan = lambda y, scan=scan: seen.add(y.dtype) or scan(y)
        for out, exact in zip(model.bfloat16()(x.bfloat16()), expected, strict=True):
            assert out.dtype == torch.bfloat16
            assert golden.relative_error(out, exact) < 0.1
    assert seen == {torch.float32}


@pytest.mark.slow  # minutes on two cores
@both
@needs_tracing
def test_it_compiles_without_graph_breaks_and_trains(cls):
    # With fixed statistics no gradient is zero but for rounding, which fresh weights amplify.
    model = cls({**TINY, 'depths': [1, 1, 1, 1]}, norm_eval=True).train().double()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    x = torch.randn(2, 3, 64, 100, dtype=torch.float64)
    gradients = []
    for forward in (model, compiled):
        model.zero_grad()
        sum(out.square().sum() for out in forward(x)).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for (name, _), eager, traced in zip(model.named_parameters(), *gradients, strict=True):
        golden.assert_close(name, traced, eager, 1e-9)
