"""MobileMamba: agreement with the released network, its construction and its forms."""

import math

import golden
import pytest
import torch
from scan_cases import RUNNABLE
from torch_abilities import needs_tracing

from tinyvim_mm.conversion.layouts import convert
from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.models import DistillationClassifier, MobileMamba, reparameterize
from tinyvim_mm.models.layers import SS2D, MobileMambaBlock, WaveletConv
from tinyvim_mm.models.layers.haar import HAAR_GAIN, haar_filters, join_bands, split_bands
from tinyvim_mm.weights.keys import translate_key

#: Parameters that are trained with one classifier, and of the published deployed form.
PARAMETERS = {
    't2': (8_806_682, 8_779_236),
    't4': (14_137_690, 14_102_692),
    's6': (14_996_696, 14_960_520),
    'b1': (17_070_625, 17_027_200),
    'b2': (17_070_625, 17_027_200),
    'b4': (17_070_625, 17_027_200),
}
#: Channels of the global and local branches and those that stay, per stage.
SPLITS = {
    't2': [(112, 28, 4), (192, 54, 26), (224, 110, 34)],
    't4': [(144, 32), (256, 73, 39), (272, 134, 42)],
    's6': [(160, 32), (272, 76, 36), (272, 134, 42)],
    'b1': [(160, 40), (256, 75, 45), (272, 134, 42)],
}
SIZES = {'a': (1, 3, 192, 192), 'b': (2, 3, 96, 160), 'c': (1, 3, 200, 250)}
TINY = {'embed_dims': (40, 48, 64), 'depths': (1, 2, 1)}


def released(arch='t2'):
    return golden.released_state_dict(arch, family='mobilemamba')


def without_head(state):
    return {key: value for key, value in state.items() if not key.startswith('head.')}


def classifier(arch='t2'):
    width = MobileMamba.arch_settings[arch].embed_dims[-1]
    options = {k: v for k, v in MobileMamba.classifier.items() if k != 'type'}
    return DistillationClassifier(width, **options)


def lively(model):
    """Fresh norms hide their branches; these do not."""
    for name, parameter in model.named_parameters():
        if name.endswith('bn.weight'):
            torch.nn.init.uniform_(parameter, 0.5, 1)
    return model


@pytest.fixture(scope='module')
def state():
    return released()


@pytest.fixture
def backbone(state):
    model = MobileMamba('t2')
    model.load_state_dict(without_head(state))
    return model


# -- agreement with the released network ---------------------------------------------


@pytest.mark.parametrize('name', SIZES)
@pytest.mark.parametrize('form', ['training form', 'deployed'])
def test_feature_maps_and_logits(backbone, state, name, form):
    expected = golden.load('mobilemamba_t2_evaluation')
    head = classifier()
    names = dict(MobileMamba.released_head_pairs)
    head.load_state_dict(
        {
            names[key.rpartition('.')[0] + '.'] + key.rpartition('.')[2]: value
            for key, value in state.items()
            if key.startswith('head.')
        }
    )
    model, head = backbone.eval(), head.eval()
    if form == 'deployed':
        model, head = reparameterize(model), reparameterize(head)
    with torch.no_grad():
        image = golden.golden_input(f'image-{name}', SIZES[name])
        features = model(image)
        stem = model.stem(image)
        logits = head(features)
    golden.assert_close('stem', stem, expected[f'stem_{name}'], golden.FEATURE_LIMIT)
    for i, feature in enumerate(features):
        golden.assert_close(f'map {i}', feature, expected[f'feat_{name}_{i}'], golden.FEATURE_LIMIT)
    if name != 'b':
        golden.assert_close('logits', logits, expected[f'logits_{name}'], golden.FEATURE_LIMIT)


# In float64 everything agrees; in float32 a ReLU whose input is within rounding of zero may flip.
@pytest.mark.parametrize(
    ('backend', 'dtype', 'map_limit', 'gradient_limit'),
    [
        ('parallel', torch.float64, 1e-6, 3e-6),
        *((name, torch.float32, 5e-5, 5e-4) for name in RUNNABLE),
    ],
)
def test_training_loss_and_gradients(backbone, backend, dtype, map_limit, gradient_limit):
    backbone = backbone.to(dtype).train()
    for module in backbone.modules():
        if isinstance(module, SS2D):
            module.backend = backend
    expected = golden.load('mobilemamba_t2_training')
    x = golden.golden_input('train-4', SIZES['b']).to(dtype).requires_grad_()
    loss = 0
    for i, out in enumerate(backbone(x)):
        golden.assert_close(f'map {i}', out, expected[f'train_feat_{i}'], map_limit)
        cotangent = golden.golden_input(f'cotangent-{i}', out.shape)
        loss = loss + (out * cotangent).sum() / out[0].numel() ** 0.5
    loss.backward()
    assert loss.item() == pytest.approx(expected['train_loss'].item(), rel=map_limit)
    golden.assert_close('input', x.grad, expected['grad_input'], gradient_limit)
    parameters = dict(backbone.named_parameters())
    gradients = golden.load('mobilemamba_t2_gradients')
    assert len(gradients) > 50
    for name, gradient in gradients.items():
        own = translate_key(name.removeprefix('grad/'), MobileMamba.released_key_rules)
        golden.assert_close(own, parameters[own].grad, gradient, gradient_limit)


@pytest.mark.parametrize('arch', ['t2', 's6', 'b1'])
def test_released_keys_are_exactly_the_keys_of_the_model(arch):
    keys = golden.released_keys(arch, family='mobilemamba')
    own = {
        translate_key(key, MobileMamba.released_key_rules): shape
        for key, shape in keys.items()
        if not key.startswith('head.')
    }
    constants = {key for key in own if key.endswith('wt_filter')}
    state = MobileMamba(arch).state_dict()
    assert constants == set(MobileMamba.released_constants(state))
    expected = {key: tuple(value.shape) for key, value in state.items()}
    assert {key: own[key] for key in own if key not in constants} == expected


@pytest.mark.parametrize('arch', PARAMETERS)
def test_parameter_counts(arch):
    with torch.device('meta'):
        model = torch.nn.ModuleList([MobileMamba(arch), classifier(arch)])
    scales = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if name.endswith(('base_scale', 'wavelet.scale'))
    )
    trained, deployed = PARAMETERS[arch]
    assert sum(p.numel() for p in model.parameters()) == trained
    # The published deployed form keeps the scales, which are folded here.
    folded = reparameterize(model)
    assert sum(p.numel() for p in folded.parameters()) == deployed - scales
    for stage, split in zip(model[0].stages, SPLITS['b1' if arch[0] == 'b' else arch], strict=True):
        assert all(tuple(block.mrffi.sizes) == split for block in stage.blocks)


# -- the checkpoints of the release -----------------------------------------------------


def test_there_and_back_is_bit_identical(state):
    conversion = convert({'net': {'x': torch.ones(1)}, 'net_E': state}, 'checkpoint')
    assert conversion.backbone is MobileMamba
    assert (conversion.arch, conversion.task) == ('t2', 'classification')
    model = torch.nn.ModuleDict({'backbone': MobileMamba('t2'), 'head': classifier()})
    assert set(conversion.state) == set(model.state_dict())
    assert 'MobileMamba-T2, classification' in conversion.summary()
    back = convert(conversion.state, 'checkpoint', to='released')
    assert set(back.state) == set(state)
    assert sorted(back.added) == sorted(key for key in state if key.endswith('wt_filter'))
    assert all(torch.equal(back.state[key], value) for key, value in state.items())


def test_other_filters_than_haars_are_an_error(state):
    key = next(key for key in state if key.endswith('iwt_filter'))
    wrong = {**state, key: -state[key]}
    with pytest.raises(CheckpointError, match=r'wavelet\.iwt_filter has other values'):
        convert(wrong, 'checkpoint')
    with pytest.raises(CheckpointError, match=r'wavelet\.iwt_filter has other values'):
        MobileMamba('t2').load_state_dict(without_head(wrong))


@pytest.mark.parametrize('nesting', [None, 'net', 'net_E'])
def test_released_files_fill_a_backbone(state, nesting, tmp_path):
    torch.save(state if nesting is None else {nesting: state}, tmp_path / 'released.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'released.pth'))
    model = MobileMamba('t2', out_indices=(1,), init_cfg=init_cfg)
    model.init_weights()
    assert len(model.stages) == 2
    expected = state['blocks2.1.se.fc1.bias']
    assert torch.equal(model.stages[1].downsample.merge.se.fc1.bias, expected)


def test_weights_of_another_size_are_an_error(state, tmp_path):
    torch.save(state, tmp_path / 'released.pth')
    with pytest.raises(CheckpointError, match=r"MobileMamba-B1\. It holds MobileMamba-T2: .*'t2'"):
        MobileMamba('b1').load_pretrained(str(tmp_path / 'released.pth'))
    assert MobileMamba.find_arch(MobileMamba('b4').state_dict()) == 'b1'
    assert MobileMamba.same_arch('b1', 'b4')


# -- construction -------------------------------------------------------------------------


def test_a_fresh_block_doubles_its_input():
    mixer = dict(global_ratio=0.6, local_ratio=0.3, kernel_size=3)
    block = MobileMambaBlock(64, 0.0, None, **mixer).eval()
    x = torch.rand(1, 64, 5, 7)
    torch.testing.assert_close(block(x), 2 * x)


def test_weights_begin_as_published():
    model = MobileMamba('t2')
    for stage in model.stages:
        for block in stage.blocks:
            wte = block.mrffi.wte
            scan = wte.ss2d
            assert (scan.Ds == 1).all()
            assert (scan.A_logs == 0).all()
            for parameter in (scan.dt_projs_weight, scan.dt_projs_bias):
                assert 0 <= parameter.min() < 0.02
                assert 0.08 < parameter.max() <= 0.1
            bound = 1 / math.sqrt(scan.x_proj_weight.shape[-1])
            assert 0.95 * bound < scan.x_proj_weight.abs().max() <= bound
            assert (wte.base_scale == 1).all()
            assert (wte.wavelet.scale == 0.1).all()
    zero = {
        name
        for name, parameter in model.named_parameters()
        if name.endswith('bn.weight') and (parameter == 0).all()
    }
    kinds = {name.split('.', 3)[-1] for name in zero if '.blocks.' in name}
    kinds = {kind.split('.', 1)[-1] if kind[0].isdigit() else kind for kind in kinds}
    assert kinds == {
        'dwconv0.bn.weight',
        'dwconv1.bn.weight',
        'mlp0.fc2.bn.weight',
        'mlp1.fc2.bn.weight',
        'mrffi.proj.bn.weight',
    }
    others = {name.partition('downsample.')[2] for name in zero if 'downsample' in name}
    assert others == {'before.mlp.fc2.bn.weight', 'after.mlp.fc2.bn.weight'}


def test_stochastic_depth_rises_over_the_blocks():
    model = MobileMamba('b1', drop_path_rate=0.03)
    rates = [block.drop_path.rate for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.005 * i for i in range(7)])


@pytest.mark.parametrize('size', [(1, 1), (33, 64), (70, 130)])
def test_any_size_gives_maps_of_rounded_up_size(size):
    model = MobileMamba(TINY).eval()
    with torch.no_grad():
        maps = model(torch.rand(1, 3, *size))
    for stride, found in zip((16, 32, 64), maps, strict=True):
        assert found.shape[-2:] == tuple(math.ceil(side / stride) for side in size)


def test_later_stages_are_not_built_and_norms_are_optional():
    model = MobileMamba(TINY, out_indices=(0, 1), normalize_outputs=True)
    assert len(model.stages) == 2
    assert [norm.num_features for norm in model.out_norms.values()] == [40, 48]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'arch': 'x'}, "arch must be one of 't2'"),
        ({'arch': {**TINY, 'embed_dims': (44, 48, 64)}}, 'multiple of 8'),
        ({'kernel_sizes': (7, 4, 3)}, 'kernel_sizes must be odd'),
        ({'global_ratios': (0.8, 0.7)}, 'global_ratios must have one value per stage'),
        ({'local_ratios': (0.0, 0.2, 0.2)}, 'local_ratio=0.0 give'),
        ({'drop_path_rate': 1.0}, 'drop_path_rate must be in'),
        ({'out_indices': (3,)}, r'out_indices must be integers in -3\.\.2'),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MobileMamba(**{'arch': TINY, **options})


def test_layers_have_depths():
    model = MobileMamba(TINY)
    depths = {name: model.get_layer_depth(name) for name, _ in model.named_parameters()}
    assert set(depths.values()) == {(depth, 6) for depth in range(5)}
    assert depths['stages.1.downsample.merge.se.fc1.weight'] == (2, 6)
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (5, 6)


def test_frozen_stages_keep_their_weights_and_statistics():
    model = MobileMamba(TINY, frozen_stages=1, norm_eval=True).train()
    assert not any(
        p.requires_grad for p in [*model.stem.parameters(), *model.stages[0].parameters()]
    )
    assert all(p.requires_grad for p in model.stages[1].parameters())
    assert not any(module.training for module in model.modules() if hasattr(module, 'running_var'))


# -- the Haar transform ---------------------------------------------------------------------


def test_bands_are_those_of_the_filters():
    x = torch.randn(2, 3, 6, 8)
    expected = torch.nn.functional.conv2d(x, haar_filters(3), stride=2, groups=3)
    bands = split_bands(x).unflatten(1, (4, 3)).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(bands * HAAR_GAIN, expected)
    torch.testing.assert_close(join_bands(split_bands(x)) * HAAR_GAIN**2, x)


@pytest.mark.parametrize('size', [(6, 8), (5, 7), (1, 1)])
def test_wavelet_convolution_is_the_one_of_the_filters(size):
    layer = WaveletConv(3, 5).requires_grad_(False)
    x = torch.randn(2, 3, *size)
    padded = torch.nn.functional.pad(x, (0, size[1] % 2, 0, size[0] % 2))
    bands = torch.nn.functional.conv2d(padded, haar_filters(3), stride=2, groups=3)
    bands = layer.conv(bands) * layer.scale
    expected = torch.nn.functional.conv_transpose2d(bands, haar_filters(3), stride=2, groups=3)
    torch.testing.assert_close(layer(x), expected[..., : size[0], : size[1]])


# -- the other forms -----------------------------------------------------------------------


def test_checkpointed_blocks_give_the_same_gradients():
    torch.manual_seed(0)
    models = [lively(MobileMamba(TINY, with_cp=with_cp)).train() for with_cp in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    x = torch.rand(2, 3, 96, 128)
    for model in models:
        sum(out.square().mean() for out in model(x)).backward()
    plain, saved = (dict(model.named_parameters()) for model in models)
    for name, parameter in plain.items():
        torch.testing.assert_close(saved[name].grad, parameter.grad, msg=name)


@needs_tracing
@pytest.mark.parametrize('size', [96, 100])
def test_it_compiles_without_a_break(size):
    torch._dynamo.reset()
    model = lively(MobileMamba(TINY)).eval()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    x = torch.rand(1, 3, size, size)
    with torch.no_grad():
        for a, b in zip(compiled(x), model(x), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize('dynamic_size', [False, True], ids=['fixed', 'dynamic'])
def test_onnx_runtime_agrees(dynamic_size, tmp_path):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    from tinyvim_mm.export.check import load_runner
    from tinyvim_mm.export.networks import ExportedNetwork
    from tinyvim_mm.export.writer import write_onnx

    model = reparameterize(lively(MobileMamba(TINY)).eval())
    network = ExportedNetwork(model, 'backbone', 'features').eval()
    path = tmp_path / 'a.onnx'
    write_onnx(network, torch.rand(1, 3, 100, 130), path, dynamic_size=dynamic_size)
    run = load_runner(path)
    for size in [(100, 130), (64, 96), (70, 210)][: None if dynamic_size else 1]:
        x = torch.rand(2, 3, *size)
        with torch.no_grad():
            expected = model(x)
        for a, b in zip(run(x.numpy()), expected, strict=True):
            golden.assert_close(f'{size}', torch.as_tensor(a), b, 1e-5)


# -- the classifier ---------------------------------------------------------------------------


def test_pooling_before_the_norm_differs_in_training_only():
    torch.manual_seed(0)
    first = DistillationClassifier(6, 4, distillation=False)
    after = DistillationClassifier(6, 4, distillation=False, norm_after_pool=True)
    after.load_state_dict(first.state_dict())
    x = torch.randn(5, 6, 3, 3)
    batch_norm = torch.nn.BatchNorm1d(6)
    expected = after.head(batch_norm(x.mean((2, 3))))
    torch.testing.assert_close(after.train()(x), expected)
    assert (first.train()(x) - expected).abs().max() > 1e-3
    after.load_state_dict(first.state_dict())
    torch.testing.assert_close(first.eval()(x), after.eval()(x))


def test_two_heads_with_norms_of_their_own_fold_into_one():
    model = DistillationClassifier(6, 4, norm_after_pool=True)
    for norm in (model.norm, model.dist_norm):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(3, 6, 2, 2)
    assert len(model.train()(x)) == 2
    model.eval()
    torch.testing.assert_close(reparameterize(model)(x), model(x))
