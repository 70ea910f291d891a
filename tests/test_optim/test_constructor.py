import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper
from torch import nn

from tinyvim_mm.core.environment import accelerator
from tinyvim_mm.optim import CPUAmpOptimWrapper, adaptive_clip_grad_, constructor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x))

    def get_layer_depth(self, name):
        return (0 if name.startswith('body') else 1), 2


def config(**changes):
    return {
        'constructor': 'tinyvim_mm.RecipeOptimWrapperConstructor',
        'type': 'OptimWrapper',
        'optimizer': {'type': 'SGD', 'lr': 1.0},
        'clip_grad': {'type': 'agc', 'clip_factor': 0.02, 'exclude': ('head.',)},
        **changes,
    }


def test_a_step_takes_clipped_gradients_but_for_what_is_excluded():
    net, x = Net(), 100 * torch.randn(5, 3)
    wrapper = build_optim_wrapper(net, config())
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    net(x).pow(2).sum().backward()
    clipped = {name: value.grad.clone() for name, value in net.named_parameters()}
    assert clipped['body.weight'].norm() > 1
    for name in ('body.weight', 'body.bias'):
        parameter = nn.Parameter(before[name])
        parameter.grad = clipped[name]
        adaptive_clip_grad_([parameter], 0.02)
    net.zero_grad()
    wrapper.update_params(net(x).pow(2).sum())
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter, before[name] - clipped[name], msg=name)


def test_without_exclude_all_is_clipped():
    net = Net()
    wrapper = build_optim_wrapper(net, config(clip_grad={'type': 'agc', 'clip_factor': 0.02}))
    before = net.head.weight.detach().clone()
    wrapper.update_params(net(100 * torch.randn(5, 3)).pow(2).sum())
    moved = (net.head.weight - before).norm(dim=1)
    torch.testing.assert_close(moved, 0.02 * before.norm(dim=1))


def test_other_kinds_of_clipping_stay_mmengines():
    wrapper = build_optim_wrapper(Net(), config(clip_grad={'max_norm': 1.0}))
    assert wrapper.clip_func is torch.nn.utils.clip_grad_norm_
    assert build_optim_wrapper(Net(), config(clip_grad=None)).clip_grad_kwargs is None


def test_mistakes_are_named(monkeypatch):
    logged = []
    monkeypatch.setattr(
        'tinyvim_mm.optim.constructor.print_log', lambda text, **options: logged.append(text)
    )
    clip_grad = {'type': 'agc', 'clip_factor': 1.0, 'exclude': ['hed.']}
    assert build_optim_wrapper(Net(), config(clip_grad=clip_grad)).clip_grad_kwargs
    assert "no parameter of Net begins with 'hed.'; all are clipped" in logged[-1]
    with pytest.raises(TypeError, match='factor'):
        build_optim_wrapper(Net(), config(clip_grad={'type': 'agc', 'factor': 1.0}))
    with pytest.raises(TypeError, match='clip_factor'):
        build_optim_wrapper(Net(), config(clip_grad={'type': 'agc'}))


@pytest.mark.parametrize('bfloat16', [False, True])
def test_mixed_precision_is_used_exactly_where_it_is_fast(bfloat16, monkeypatch):
    monkeypatch.setattr(constructor, 'computes_in_bfloat16', lambda: bfloat16)
    cfg = config(type='AmpOptimWrapper', loss_scale='dynamic')
    on_cpu = CPUAmpOptimWrapper if bfloat16 else OptimWrapper
    wrapper = build_optim_wrapper(Net(), cfg)
    assert type(wrapper) is (on_cpu if accelerator() is None else AmpOptimWrapper)
    assert cfg['type'] == 'AmpOptimWrapper'
    assert cfg['clip_grad']['type'] == 'agc'


@pytest.mark.gpu
def test_the_loss_scale_is_taken_out_before_clipping():
    moved = []
    for kind in ({'type': 'OptimWrapper'}, {'type': 'AmpOptimWrapper', 'dtype': 'bfloat16'}):
        torch.manual_seed(0)
        net = Net().cuda()
        before = net.body.weight.detach().clone()
        wrapper = build_optim_wrapper(net, config(**kind))
        x = 1e-3 * torch.randn(5, 3, device='cuda')
        with wrapper.optim_context(net):
            loss = net(x).float().sum() * 1e-3  # below the limit unless it is scaled
        wrapper.update_params(loss)
        moved.append(net.body.weight - before)
    # As a whole: bfloat16 may lose most of a sum whose terms cancel.
    assert (moved[0] - moved[1]).norm() <= 3e-2 * moved[0].norm()


def test_layer_decay_can_group_the_parameters():
    pytest.importorskip('mmpretrain.engine')
    cfg = config(
        params_constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
        paramwise_cfg={'layer_decay_rate': 0.5},
        optimizer={'type': 'SGD', 'lr': 1.0, 'weight_decay': 0.1},
    )
    groups = build_optim_wrapper(Net(), cfg).optimizer.param_groups
    assert {group['param_name']: group['lr'] for group in groups} == {
        'body.weight': 0.5,
        'body.bias': 0.5,
        'head.weight': 1.0,
        'head.bias': 1.0,
    }
