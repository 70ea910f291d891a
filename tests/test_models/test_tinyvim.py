import copy
import math

import pytest
import torch
from torch import nn

from tinyvim_mm.models import DistillationClassifier, TinyViM
from tinyvim_mm.models.layers import DropPath, LaplaceMixer, LocalBlock, TinyViMBlock

TINY = {'embed_dims': [8, 12, 16, 20], 'depths': [1, 2, 3, 1]}


def gradients(model, outputs):
    sum(out.square().sum() for out in outputs).backward()
    return [p.grad for p in model.parameters()]


# -- sizes ----------------------------------------------------------------------


@pytest.mark.parametrize('size', [(32, 32), (33, 47), (200, 250), (224, 224), (97, 64)])
@pytest.mark.parametrize('form', ['released', 'paper'])
def test_any_size_gives_four_maps_and_trains(size, form):
    options = {}
    if form == 'paper':
        options = {'pool_sizes': (2, 2, 2, 2), 'high_residual': 'concat'}
    model = TinyViM(TINY, **options).train()
    outputs = model(torch.randn(2, 3, *size))
    for i, (out, channels) in enumerate(zip(outputs, TINY['embed_dims'], strict=True)):
        stride = 4 * 2**i
        assert out.shape == (2, channels, *(math.ceil(side / stride) for side in size))
    for gradient in gradients(model, outputs):
        assert gradient is not None
        assert gradient.isfinite().all()


def test_detection_size_trains():
    model = TinyViM(TINY).train()
    outputs = model(torch.randn(1, 3, 800, 1333))
    assert [out.shape[-2:] for out in outputs] == [(200, 334), (100, 167), (50, 84), (25, 42)]
    assert all(g.isfinite().all() for g in gradients(model, outputs))


@pytest.mark.parametrize('shape', [(1, 3, 31, 64), (1, 3, 64, 31), (3, 64, 64)])
def test_small_or_misshapen_input_is_refused(shape):
    with pytest.raises(ValueError, match=r'TinyViM-S takes .*at least 32, got \('):
        TinyViM('s')(torch.randn(shape))


# -- structure ------------------------------------------------------------------


@pytest.mark.parametrize(
    ('arch', 'depths'), [('s', (3, 3, 9, 6)), ('b', (4, 3, 10, 5)), ('l', (4, 4, 12, 6))]
)
def test_mixers_stand_last_in_each_stage_and_amid_the_third(arch, depths):
    model = TinyViM(arch)
    for i, stage in enumerate(model.stages):
        assert len(stage.blocks) == depths[i]
        mixing = [j for j, block in enumerate(stage.blocks) if isinstance(block, TinyViMBlock)]
        expected = {depths[i] - 1} | ({depths[i] // 2} if i == 2 else set())
        assert set(mixing) == expected
        others = [block for j, block in enumerate(stage.blocks) if j not in mixing]
        assert all(isinstance(block, LocalBlock) for block in others)
    assert sum(isinstance(m, LaplaceMixer) for m in model.modules()) == 5


def test_custom_arch():
    model = TinyViM(TINY)
    assert [len(stage.blocks) for stage in model.stages] == TINY['depths']
    assert model(torch.randn(1, 3, 64, 64))[-1].shape == (1, 20, 2, 2)


@pytest.mark.parametrize(
    ('arch', 'message'),
    [
        ('xl', r"arch must be one of 's', 'b', 'l' or a dict, got 'xl'"),
        ({'embed_dims': [8, 8, 8, 8]}, "exactly the keys 'embed_dims' and 'depths'"),
        ({**TINY, 'heads': 4}, "exactly the keys 'embed_dims' and 'depths'"),
        ({**TINY, 'depths': [1, 1, 1]}, r"arch\['depths'\] must have one value per stage, 4"),
        ({**TINY, 'depths': [1, 0, 1, 1]}, r"arch\['depths'\]\[1\] must be at least 1, got 0"),
    ],
)
def test_bad_arch(arch, message):
    with pytest.raises(ValueError, match=message):
        TinyViM(arch)


def test_unknown_arguments_are_errors():
    with pytest.raises(TypeError, match='drop_path'):
        TinyViM('s', drop_path=0.1)


@pytest.mark.parametrize(
    ('out_indices', 'message'),
    [
        ((0, 4), r'out_indices must be integers in -4\.\.3, got \(0, 4\)'),
        ((1, 0), r'out_indices must be ascending, at least one, got \(1, 0\)'),
        ((1, 1), 'out_indices must be ascending'),
        ((), 'at least one'),
        (('a',), 'out_indices must be integers'),
    ],
)
def test_bad_out_indices(out_indices, message):
    with pytest.raises(ValueError, match=message):
        TinyViM(TINY, out_indices=out_indices)


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ({'frozen_stages': 5}, r'frozen_stages must be between -1 \(nothing\) and 4'),
        ({'drop_path_rate': 1.0}, r'drop_path_rate must be in \[0, 1\)'),
        ({'split_ratios': (0.5,)}, 'split_ratios must have one value per stage'),
        ({'split_ratios': (0.01, 0.5, 0.5, 0.5)}, 'gives 0 of 8 channels to the scan'),
        ({'pool_sizes': (8, 4, 2)}, 'pool_sizes must have one value per stage'),
        ({'laplacian_kernel': 4}, 'laplacian_kernel must be one of 3, 5, 7, 9, got 4'),
        ({'scan_frequencies': 'mid'}, "scan_frequencies must be one of 'low', 'high'"),
        ({'high_residual': 'none'}, "high_residual must be one of 'add', 'concat'"),
        (
            {'high_residual': 'concat', 'scan_frequencies': 'all'},
            "high_residual='concat' needs scan_frequencies='low'",
        ),
        ({'pool_sizes': (2.5, 4, 2, 1)}, r'pool_sizes\[0\] must be an integer, got 2\.5'),
        ({'norm_cfg': 'BN'}, r"norm_cfg must be a dict such as dict\(type='BN'\), got 'BN'"),
        ({'norm_cfg': {'type': 'GN'}}, "norm_cfg type 'GN' is no batch normalization"),
        ({'ssm_backend': 'fast'}, "ssm_backend must be None or one of .* got 'fast'"),
    ],
)
def test_bad_options(option, message):
    with pytest.raises((TypeError, ValueError), match=message):
        TinyViM(TINY, **option)(torch.randn(1, 3, 32, 32))


def test_out_indices_select_and_stages_after_them_are_not_built():
    full = TinyViM(TINY).eval()
    part = TinyViM(TINY, out_indices=(0, 2)).eval()
    assert len(part.stages) == 3
    part.load_state_dict(
        {key: value for key, value in full.state_dict().items() if key in part.state_dict()}
    )
    x = torch.randn(1, 3, 64, 64)
    for out, expected in zip(part(x), full(x)[::2], strict=True):
        assert torch.equal(out, expected)
    assert TinyViM(TINY, out_indices=(-1,)).out_indices == (3,)
    assert TinyViM(TINY, out_indices=2).out_indices == (2,)


def test_outputs_are_normalized_only_when_asked():
    x = torch.randn(4, 3, 64, 64)
    for out in TinyViM(TINY).train()(x):
        assert out.mean((0, 2, 3)).abs().max() < 1e-4
    assert not TinyViM(TINY, normalize_outputs=False).out_norms


# -- training options ------------------------------------------------------------


def test_drop_path_rises_linearly():
    model = TinyViM('s', drop_path_rate=0.2)
    rates = [m.rate for stage in model.stages for m in stage.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.2 * i / 20 for i in range(21)])


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    layer, x = DropPath(0.25).train(), torch.ones(4000, 2, 3)
    values = layer(x)
    torch.testing.assert_close(values.unique(), torch.tensor([0, 4 / 3]))
    assert (values == values[:, :1, :1]).all()
    assert values.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(layer.eval()(x), x)


def test_drop_path_acts_in_the_network():
    model = TinyViM(TINY, drop_path_rate=0.5).train()
    x = torch.randn(2, 3, 32, 32)
    assert not torch.equal(model(x)[-1], model(x)[-1])


@pytest.mark.parametrize('frozen', [-1, 0, 2, 4])
def test_frozen_stages_stay_frozen_in_training(frozen):
    model = TinyViM(TINY, frozen_stages=frozen)
    model.train()
    for module, is_frozen in [(model.stem, frozen >= 0)] + [
        (stage, i < frozen) for i, stage in enumerate(model.stages)
    ]:
        assert all(p.requires_grad != is_frozen for p in module.parameters())
        assert all(m.training != is_frozen for m in module.modules())
    norms = model.out_norms  # with all stages they are frozen, too
    assert all(norm.training == (frozen < 4) for norm in norms.values())
    assert all(p.requires_grad == (frozen < 4) for p in norms.parameters())


def test_norm_eval_keeps_statistics():
    model = TinyViM(TINY, norm_eval=True).train()
    before = copy.deepcopy(dict(model.named_buffers()))
    model(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_checkpointing_changes_nothing_but_memory():
    plain = TinyViM(TINY, drop_path_rate=0.3).train()
    saving = copy.deepcopy(plain)
    saving.with_cp = True
    x, results = torch.randn(2, 3, 64, 64), []
    for model in (plain, saving):
        torch.manual_seed(1)
        outputs = model(x)
        results.append([*outputs, *gradients(model, outputs), *model.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_checkpointing_keeps_fewer_activations():
    def kept_bytes(model):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(torch.randn(2, 3, 64, 64))
        return total

    assert kept_bytes(TinyViM(TINY, with_cp=True)) < 0.4 * kept_bytes(TinyViM(TINY))


def test_norm_cfg_reaches_every_norm():
    model = TinyViM(TINY, norm_cfg={'type': 'SyncBN', 'eps': 1e-3, 'requires_grad': False})
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(m, nn.SyncBatchNorm) and m.eps == 1e-3 for m in norms)
    assert not any(p.requires_grad for m in norms for p in m.parameters())


def test_scan_parameters_are_marked_as_free_of_weight_decay():
    marked = {n for n, p in TinyViM(TINY).named_parameters() if hasattr(p, '_no_weight_decay')}
    assert len(marked) == 10
    assert all(name.endswith(('.A_logs', '.Ds')) for name in marked)


def test_initial_values():
    model = TinyViM('b')
    mixer = model.stages[3].blocks[-1].mixer
    assert torch.allclose(mixer.ss2d.A_logs.exp(), torch.arange(1.0, 9.0).expand(4 * 288, 8))
    assert (mixer.ss2d.Ds == 1).all()
    dt = nn.functional.softplus(mixer.ss2d.dt_projs_bias)
    assert 9e-4 < dt.min() < 2e-3
    assert 0.05 < dt.max() < 0.11
    assert mixer.ss2d.dt_projs_weight.abs().max() <= 24**-0.5
    assert mixer.in_proj.conv.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert (model.stages[0].blocks[0].dwconv.conv1x1.bias == 0).all()


def test_backend_is_chosen_by_argument():
    x = torch.randn(1, 3, 64, 64)
    torch.manual_seed(1)
    fast = TinyViM(TINY, ssm_backend='parallel').eval()
    torch.manual_seed(1)
    slow = TinyViM(TINY, ssm_backend='reference').eval()
    for a, b in zip(fast(x), slow(x), strict=True):
        torch.testing.assert_close(a, b)


# -- classifier -------------------------------------------------------------------


def test_classifier_returns_both_heads_in_training_and_their_mean_otherwise():
    head, x = DistillationClassifier(20, 7), torch.randn(3, 20, 2, 2)
    first, second = head.train()(x)
    assert first.shape == second.shape == (3, 7)
    head.eval()
    pooled = head.norm(x).mean((2, 3))
    expected = (head.head(pooled) + head.dist_head(pooled)) / 2
    torch.testing.assert_close(head(x), expected)
    assert DistillationClassifier(20, 7, distillation=False)(x).shape == (3, 7)
