"""The deployed form computes what the training form does in inference."""

import copy
import itertools
import json
import pickle
import re

import golden
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch_abilities import needs_export, needs_tracing

import tinyvim_mm
from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.models import DistillationClassifier, TinyViM, reparameterize
from tinyvim_mm.models.layers import AxialRepDWConv, ConvBN, LocalBlock, RepDWConv

TINY = {'embed_dims': [8, 12, 16, 20], 'depths': [2, 1, 3, 1]}
# A classifier with one head; `layer_scale` still counted, which folds here too.
PARAMETERS = {'s': 5_648_384, 'b': 11_080_840, 'l': 31_774_568}
LIMITS = {torch.float32: 1e-4, torch.float64: 1e-10}
IMAGE = (2, 3, 72, 100)


@torch.no_grad()
def randomize(model):
    """Fill with values at which no fold is trivial, and the features keep their size."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.normal_(std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                module.bias.normal_(std=0.3)
        elif isinstance(module, _BatchNorm):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.3, 3)
            if module.affine:
                module.weight.uniform_(0.4, 1.4).mul_(torch.randn_like(module.weight).sign())
                module.bias.normal_(std=0.3)
        elif isinstance(module, LocalBlock):
            module.layer_scale.uniform_(-0.8, 0.8)
    return model.eval()


class Whole(nn.Module):
    """A backbone, and a classifier of its last map."""

    def __init__(self, arch, **options):
        super().__init__()
        self.backbone = TinyViM(arch, normalize_outputs=False, **options)
        self.head = DistillationClassifier(self.backbone.embed_dims[-1])

    def forward(self, x):
        features = self.backbone(x)
        return [*features, self.head(features)]


@torch.no_grad()
def assert_same(model, deployed, x):
    for i, (got, expected) in enumerate(zip(deployed(x), model(x), strict=True)):
        assert expected.std() > 1e-3, f'output {i} is constant and proves nothing'
        golden.assert_close(f'output {i}', got, expected, LIMITS[x.dtype])


def norms(model):
    return [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]


def count(model):
    return sum(p.numel() for p in model.parameters())


# -- equality -----------------------------------------------------------------------


@pytest.mark.parametrize('arch', ['s', 'b', 'l'])
def test_the_released_networks_stay_the_same_and_shrink(arch):
    model = randomize(Whole(arch))
    deployed = reparameterize(model)
    assert norms(deployed) == []
    layer_scales = sum(p.numel() for n, p in model.named_parameters() if n.endswith('layer_scale'))
    assert count(deployed) == PARAMETERS[arch] - layer_scales
    x = torch.randn(1, 3, 64, 64)
    assert_same(model, deployed, x)
    # Folded again from float64: what float32 weights round must not add up.
    model = model.double()
    assert_same(model, reparameterize(model), x.double())


VARIANTS = {
    **{f'kernel {k}': {'laplacian_kernel': k} for k in (3, 5, 9)},
    **{f'scan {f}': {'scan_frequencies': f} for f in ('high', 'all', 'both', 'none')},
    'paper': {'pool_sizes': (2, 2, 2, 2), 'high_residual': 'concat'},
    'no pooling': {'pool_sizes': (1, 1, 1, 1)},
    'concat, kernel 3': {'high_residual': 'concat', 'laplacian_kernel': 3},
    'half': {'split_ratios': (0.5,) * 4},
    'odd widths': {'arch': {'embed_dims': [6, 9, 11, 13], 'depths': [1, 2, 2, 2]}},
    'norm': {'norm_cfg': {'type': 'SyncBN', 'eps': 0.1}},
    'norm without affine': {'norm_cfg': {'type': 'BN', 'affine': False}},
    'two maps': {'out_indices': (0, 2), 'with_cp': True, 'drop_path_rate': 0.5},
}


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64], ids=['float32', 'float64'])
@pytest.mark.parametrize('options', VARIANTS.values(), ids=VARIANTS)
def test_every_variant_stays_the_same(options, dtype):
    model = randomize(TinyViM(**{'arch': TINY, **options}).to(dtype))
    deployed = reparameterize(model)
    assert {name.split('.')[0] for name in norms(deployed)} == {'out_norms'}
    assert_same(model, deployed, torch.randn(IMAGE, dtype=dtype))


@pytest.mark.parametrize(
    'layer',
    [
        ConvBN(6, 8, 3, stride=2),
        ConvBN(6, 6, (1, 5), groups=3),
        RepDWConv(6),
        RepDWConv(6, (5, 1)),
        RepDWConv(6, (1, 7)),
    ],
    ids=repr,
)
def test_a_group_is_one_biased_convolution(layer):
    layer = randomize(layer.double())
    fused = layer.fuse()
    assert type(fused) is nn.Conv2d
    x = torch.randn(2, 6, 9, 10, dtype=torch.float64)
    golden.assert_close('output', fused(x), layer(x), 1e-13)


def test_an_axial_group_is_two_convolutions():
    deployed = reparameterize(TinyViM(TINY))
    layers = [m for m in deployed.modules() if isinstance(m, AxialRepDWConv)]
    assert len(layers) == 5
    for layer in layers:
        kernels = [conv.kernel_size for conv in layer.children() if type(conv) is nn.Conv2d]
        assert kernels == [(7, 1), (1, 7)]


@pytest.mark.parametrize('distillation', [True, False])
def test_a_classifier_is_one_linear_layer(distillation):
    model = randomize(DistillationClassifier(12, 7, distillation).double())
    deployed = reparameterize(model)
    assert set(deployed.state_dict()) == {'head.weight', 'head.bias'}
    x = torch.randn(3, 12, 5, 4, dtype=torch.float64)
    golden.assert_close('logits', deployed(x), model(x), 1e-13)


def test_values_are_rounded_once():
    model = randomize(TinyViM(TINY))
    exact = reparameterize(copy.deepcopy(model).double()).state_dict()
    for key, value in reparameterize(model).state_dict().items():
        assert torch.equal(value, exact[key].to(value.dtype)), key


def test_channels_last_is_kept():
    model = randomize(TinyViM(TINY)).to(memory_format=torch.channels_last)
    deployed = reparameterize(model)
    for name, p in deployed.named_parameters():
        if p.dim() == 4:
            assert p.is_contiguous(memory_format=torch.channels_last), name
    x = torch.randn(IMAGE).to(memory_format=torch.channels_last)
    assert_same(model, deployed, x)
    for out in deployed(x):
        assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_type_and_device_are_kept(dtype):
    model = reparameterize(TinyViM(TINY).to(dtype))
    assert {p.dtype for p in model.parameters()} == {dtype}
    with torch.device('meta'):
        assert all(p.is_meta for p in reparameterize(TinyViM(TINY)).parameters())


# -- what happens to the model --------------------------------------------------------


def test_a_copy_leaves_the_model_as_it_was():
    model = Whole(TINY)
    before = copy.deepcopy(model.state_dict())
    deployed = reparameterize(model)
    assert model.training
    assert all(module.training for module in model.modules())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    shared = {id(p) for p in model.parameters()} & {id(p) for p in deployed.parameters()}
    assert not shared


def test_in_place_and_twice():
    model = TinyViM(TINY)
    assert reparameterize(model, inplace=True) is model
    assert model.deployed
    assert not any(module.training for module in model.modules())
    before = model.state_dict()
    model.switch_to_deploy()
    again = reparameterize(model)
    for state in (model.state_dict(), again.state_dict()):
        assert state.keys() == before.keys()
        assert all(torch.equal(state[key], value) for key, value in before.items())


def test_a_training_model_is_folded_with_its_running_statistics():
    model = randomize(TinyViM(TINY)).train()
    deployed = reparameterize(model)
    assert_same(model.eval(), deployed, torch.randn(IMAGE))


def test_a_deployed_model_cannot_be_trained():
    model = reparameterize(Whole(TINY))
    with pytest.raises(RuntimeError, match=r'TinyViM is reparameterized.*cannot be trained'):
        model.train()
    with pytest.raises(RuntimeError, match='DistillationClassifier is reparameterized'):
        model.head.train()
    assert not any(p.requires_grad for p in model.parameters())
    model.eval()


def test_what_cannot_be_folded_is_named():
    with pytest.raises(ValueError, match='Linear contains no model of tinyvim_mm'):
        reparameterize(nn.Linear(2, 2))
    model = TinyViM(TINY, norm_cfg={'type': 'BN', 'track_running_stats': False})
    with pytest.raises(ValueError, match=r'keeps no running statistics.*track_running_stats'):
        reparameterize(model)


# -- state dicts ----------------------------------------------------------------------


def test_keys_of_the_deployed_form():
    model = TinyViM(TINY)
    expected = set()
    for key in model.state_dict():
        if key.endswith('.layer_scale'):
            continue
        if not key.startswith('out_norms.'):
            key = re.sub(r'(?<=\.)(conv\.conv|conv|conv\.bn|bn|conv1x1)\.\w+$', '', key)
            key = re.sub(r'\.$', '', key)
        expected |= {key} if key in model.state_dict() else {f'{key}.weight', f'{key}.bias'}
    assert set(reparameterize(model).state_dict()) == expected


def test_a_deployed_state_dict_loads_into_a_deployed_model():
    source = reparameterize(randomize(Whole(TINY)))
    target = reparameterize(Whole(TINY))
    target.load_state_dict(source.state_dict())
    assert_same(source, target, torch.randn(IMAGE))


def load_with_mmengine(model, state):
    from mmengine.runner.checkpoint import load_state_dict

    load_state_dict(model, state, strict=False)


def load_loosely(model, state):
    model.load_state_dict(state, strict=False)


@pytest.mark.parametrize('load', [load_loosely, load_with_mmengine])
@pytest.mark.parametrize('part', ['backbone', 'head'])
def test_the_other_form_does_not_load(load, part):
    training = Whole(TINY)
    deployed = reparameterize(training)
    states = [
        {f'{part}.{key}': value for key, value in getattr(model, part).state_dict().items()}
        for model in (training, deployed)
    ]
    with pytest.raises(CheckpointError, match=r'training form.*Load first.*reparameterize'):
        load(deployed, states[0])
    with pytest.raises(CheckpointError, match=r'reparameterized, and this model is in its train'):
        load(training, states[1])


def test_released_weights_and_files_do_not_load_into_a_deployed_model(tmp_path):
    deployed = reparameterize(TinyViM('s'))
    with pytest.raises(CheckpointError, match='Load first, then reparameterize'):
        deployed.load_state_dict(golden.released_state_dict('s'), strict=False)
    file = tmp_path / 'weights.pth'
    torch.save(TinyViM(TINY).state_dict(), file)
    with pytest.raises(CheckpointError, match=rf'{file} holds TinyViM in its training form'):
        reparameterize(TinyViM(TINY)).load_pretrained(str(file))
    torch.save(reparameterize(TinyViM(TINY)).state_dict(), file)
    with pytest.raises(CheckpointError, match=rf'{file} holds TinyViM reparameterized'):
        TinyViM(TINY).load_pretrained(str(file))


# -- graphs ---------------------------------------------------------------------------


@needs_tracing
def test_the_deployed_form_compiles_without_a_break():
    model = reparameterize(randomize(TinyViM(TINY)))
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    assert_same(model, compiled, torch.randn(1, 3, 64, 64))


@needs_export
def test_the_deployed_form_exports():
    model, x = reparameterize(randomize(TinyViM(TINY))), torch.randn(1, 3, 64, 64)
    program = torch.export.export(model, (x,))
    assert_same(model, program.module(), x)
    targets = {str(node.target) for node in program.graph.nodes}
    assert any('conv2d' in target for target in targets)
    norm_calls = [n for n in program.graph.nodes if 'batch_norm' in str(n.target)]
    assert len(norm_calls) == 4  # of the outputs


# -- toolboxes --------------------------------------------------------------------------


def build(config, **options):
    from mmengine.registry import MODELS, init_default_scope

    cfg = tinyvim_mm.get_config(config)
    cfg.merge_from_dict({'model.backbone.init_cfg': None, **options})
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


@pytest.mark.parametrize(
    ('toolbox', 'config'),
    [
        ('mmdet', 'mask_rcnn_tinyvim_s_1x_coco'),
        ('mmseg', 'fpn_tinyvim_s_40k_ade20k'),
        ('mmpretrain', 'tinyvim_s_300e_in1k'),
    ],
)
@pytest.mark.parametrize('inplace', [False, True])
def test_models_of_the_toolboxes(toolbox, config, inplace):
    pytest.importorskip(f'{toolbox}.models')
    model = randomize(build(config))
    x = torch.randn(1, 3, 64, 64)

    @torch.no_grad()
    def run(model):
        # A whole detector needs what a dataset knows of its images.
        return model.extract_feat(x) if toolbox == 'mmdet' else model(x, mode='tensor')

    expected = run(model)
    deployed = reparameterize(model, inplace)
    got = run(deployed)
    assert (deployed is model) == inplace
    assert deployed.backbone.deployed
    assert model.backbone.deployed == inplace
    for i, (a, b) in enumerate(zip(tensors(got), tensors(expected), strict=True)):
        golden.assert_close(f'output {i}', a, b, LIMITS[torch.float32])
    with pytest.raises(RuntimeError, match='is reparameterized'):
        deployed.train()


def tensors(outputs):
    """The tensors in nested sequences."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return list(itertools.chain.from_iterable(tensors(part) for part in outputs))


def test_the_classifier_forgets_its_teacher():
    pytest.importorskip('mmpretrain.models')
    model = build('tinyvim_s_300e_in1k')
    deployed = reparameterize(model)
    assert model.teacher is not None
    assert deployed.teacher is None
    assert deployed.head.dist_head is None
    assert norms(deployed) == []


def test_fusion_of_mmcv_is_right_before_and_after():
    fuse_conv_bn = pytest.importorskip('mmcv.cnn').fuse_conv_bn
    model, x = randomize(TinyViM(TINY)), torch.randn(IMAGE)
    assert_same(model, fuse_conv_bn(reparameterize(model)), x)
    fused = fuse_conv_bn(copy.deepcopy(model))
    assert_same(model, fused, x)
    with pytest.raises(ValueError, match='before other functions that fold norms'):
        reparameterize(fused)


def test_the_test_tool_deploys_after_loading(tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmpretrain.models')
    from tool_runs import run_sample

    from tinyvim_mm.commands import test as test_tool
    from tinyvim_mm.core.paths import SAMPLE_IMAGENET

    config = 'tinyvim_s_300e_in1k'
    # In this config an average of the model changes places with it during a test.
    assert [hook.type for hook in tinyvim_mm.get_config(config).custom_hooks] == ['EMAHook']
    options = [
        'test_dataloader.dataset.pipeline.1.scale=71',
        'test_dataloader.dataset.pipeline.2.crop_size=64',
        'test_dataloader.dataset.indices=3',
    ]
    monkeypatch.chdir(tmp_path)
    classes = len(list((SAMPLE_IMAGENET / 'train').iterdir()))
    head = {'model.head.num_classes': classes, 'model.distillation': None}
    weights = randomize(build(config, **head)).state_dict()
    torch.save({'state_dict': weights, 'meta': {}}, 'weights.pth')
    found = {}
    for name, flags in (('plain', []), ('deployed', ['--deploy'])):
        arguments = ['weights.pth', '--work-dir', name, '--out', f'{name}.pkl', *flags]
        run_sample(test_tool.main, config, *arguments, options=options)
        output = capsys.readouterr()
        assert ('reparameterized: ' in output.out + output.err) == bool(flags)
        with open(f'{name}.pkl', 'rb') as file:
            scores = torch.stack([sample['pred_score'] for sample in pickle.load(file)])
        found[name] = scores, json.loads((tmp_path / name / 'metrics.json').read_text())
    assert found['deployed'][1]['metrics'] == found['plain'][1]['metrics']
    golden.assert_close('scores', found['deployed'][0], found['plain'][0], 1e-4)
    assert not torch.equal(found['deployed'][0], found['plain'][0])
