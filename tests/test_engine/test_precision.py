"""Channels-last and bfloat16: in force for models and images, and neither changes what is saved."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.optim import OptimWrapper
from torch import nn
from torch.nn import functional as F

from tinyvim_mm.core import environment
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.models.catalogue import BACKBONES
from tinyvim_mm.optim import CPUAmpOptimWrapper
from tinyvim_mm.records.run_record import FILE, RunRecord, read_record
from tinyvim_mm.training import memory_format, precision
from tinyvim_mm.training.sample import apply_sample

families = pytest.mark.parametrize('family', BACKBONES)


class Head(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Linear(channels, 5)

    def loss(self, x, labels):
        return F.cross_entropy(self(x), labels)

    def forward(self, x):
        return self.fc(x)


class Net(BaseModel):
    def __init__(self, family):
        super().__init__(BaseDataPreprocessor())
        stages = len(BACKBONES[family].strides)
        dims = [40 * 2**i for i in range(stages)]
        arch = dict(embed_dims=dims, depths=[1] * stages)
        self.backbone = BACKBONES[family](arch, out_indices=[stages - 1])
        self.roi_head = nn.ModuleDict({'bbox_head': Head(dims[-1])})
        self.seen = {}

    def forward(self, inputs, labels, mode='loss'):
        x = self.backbone(inputs)[-1]
        head = self.roi_head['bbox_head']
        self.seen = {'image': inputs, 'map': x, 'scores': head(x.mean((2, 3)))}
        return {'loss': head.loss(x.mean((2, 3)), labels)}


def step(family, channels_last, kind=OptimWrapper):
    torch.manual_seed(0)
    net = Net(family).train()
    if channels_last:
        memory_format.use_channels_last(net)
    wrapper = kind(optimizer=torch.optim.SGD(net.parameters(), lr=1e-4))
    # Enough values for the batch norms: of few, a rounding decides the sign.
    data = {'inputs': torch.randn(6, 3, 160, 160), 'labels': torch.arange(6) % 5}
    losses = [net.train_step(data, wrapper)['loss'].item() for _ in range(2)]
    return net, losses


@families
def test_model_and_images_are_channels_last_and_losses_stay(family):
    net, losses = step(family, channels_last=True)
    kernels = [p for p in net.parameters() if p.dim() == 4]
    assert kernels
    for tensor in (*kernels, net.seen['image']):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert losses == pytest.approx(step(family, channels_last=False)[1], rel=1e-3)


@families
def test_bfloat16_stays_inside_the_parts(family):
    net, losses = step(family, True, CPUAmpOptimWrapper)
    inside = []
    net.backbone.stem.register_forward_hook(lambda *args: inside.append(args[-1].dtype))
    wrapper = CPUAmpOptimWrapper(optimizer=torch.optim.SGD(net.parameters(), lr=0.01))
    net.train_step({'inputs': torch.randn(2, 3, 64, 64), 'labels': torch.tensor([1, 2])}, wrapper)
    assert inside == [torch.bfloat16]
    assert net.seen['map'].dtype == net.seen['scores'].dtype == torch.float32
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert losses == pytest.approx(step(family, False)[1], rel=0.1)


def test_it_takes_the_arguments_of_mmengines():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    CPUAmpOptimWrapper(optimizer=optimizer, loss_scale='dynamic', dtype='float16', clip_grad=None)


def test_mmcvs_operators_read_channels_last_maps():
    pytest.importorskip('mmcv._ext')
    from mmcv.ops import ModulatedDeformConv2dPack, RoIAlign

    rois = torch.tensor([[0, 1.0, 2, 15, 12], [1, 3, 3, 20, 18]])
    x = torch.randn(2, 8, 20, 24)
    turned = x.to(memory_format=torch.channels_last)
    align, convolve = RoIAlign(7, 1.0, 0), ModulatedDeformConv2dPack(8, 8, 3, padding=1)
    for parameter in convolve.parameters():
        nn.init.normal_(parameter)

    def outcome(x):
        convolve.zero_grad()
        maps = convolve(x)
        maps.pow(2).sum().backward()
        return [align(x, rois), maps.detach(), *(p.grad.clone() for p in convolve.parameters())]

    expected = outcome(x)
    memory_format._mend_operators()
    convolve.to(memory_format=torch.channels_last)
    for a, b in zip(expected, outcome(turned), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-3)


def test_weights_are_saved_in_the_usual_order():
    net, _ = step('tinyvim', channels_last=True)
    checkpoint = {'state_dict': net.state_dict(), 'meta': {}}
    memory_format.PlainCheckpointHook().before_save_checkpoint(None, checkpoint)
    for key, value in checkpoint['state_dict'].items():
        assert value.is_contiguous(), key
        assert torch.equal(value, net.state_dict()[key])
    assert not net.backbone.stem[0].conv.weight.is_contiguous()


# -- which is chosen -------------------------------------------------------------------


@pytest.mark.parametrize(('device', 'expected'), [(None, True), ('cuda', False)])
def test_a_cpu_prefers_channels_last(device, expected, monkeypatch):
    monkeypatch.setattr(environment, 'accelerator', lambda: device)
    for wanted in (None, True, False):
        cfg = Config({})
        precision.choose_layout(cfg, wanted, 'ddp')
        assert cfg.channels_last == (expected if wanted is None else wanted)
        cfg = Config(dict(channels_last=not expected))
        precision.choose_layout(cfg, None, 'ddp')
        assert cfg.channels_last == (not expected)


def test_a_resumed_training_keeps_its_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, 'accelerator', lambda: 'cuda')
    cfg = dict(resume=True, load_from=str(tmp_path / 'epoch_1.pth'))
    for name, layout in (('20260101', False), ('20260102', True)):
        (tmp_path / name).mkdir()
        RunRecord(channels_last=layout).write(tmp_path / name)
    for changes, wanted, expected in (
        ({}, None, True),
        ({}, False, False),
        ({'resume': False}, None, False),
    ):
        found = Config({**cfg, **changes})
        precision.choose_layout(found, wanted, 'ddp')
        assert found.channels_last == expected


def test_sharding_keeps_a_layout_of_its_own():
    with pytest.raises(UsageError, match='--channels-last does not go with --strategy fsdp'):
        precision.choose_layout(Config({}), True, 'fsdp')
    cfg = Config({})
    precision.choose_layout(cfg, None, 'fsdp')
    assert cfg.channels_last is False


def test_records_of_earlier_versions_are_read(tmp_path):
    RunRecord(precision='bfloat16', channels_last=True).write(tmp_path)
    assert read_record(tmp_path).precision == 'bfloat16'
    content = json.loads((tmp_path / FILE).read_text())
    del content['precision'], content['channels_last']
    (tmp_path / FILE).write_text(json.dumps(content))
    assert read_record(tmp_path).channels_last is None


@pytest.mark.parametrize('bfloat16', [False, True])
def test_a_sample_run_uses_bfloat16_where_it_is_fast(bfloat16, monkeypatch):
    pytest.importorskip('mmseg')
    from tinyvim_mm.recipes.configs import find_config, load_config
    from tinyvim_mm.training import sample

    monkeypatch.setattr(sample, 'computes_in_bfloat16', lambda: bfloat16)
    monkeypatch.setattr(environment, 'accelerator', lambda: None)
    path = find_config('fpn_tinyvim_s_40k_ade20k')
    cfg = load_config(path)
    said = f'optim_wrapper.type = {precision.CPU_WRAPPER}' in apply_sample(cfg, path)
    assert said == (cfg.optim_wrapper.type == precision.CPU_WRAPPER) == bfloat16


@pytest.mark.parametrize(
    ('device', 'name'), [(None, precision.CPU_WRAPPER), ('cuda', 'AmpOptimWrapper')]
)
def test_amp_on_each_device(device, name, monkeypatch):
    monkeypatch.setattr(environment, 'accelerator', lambda: device)
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    precision.apply_amp(cfg)
    assert cfg.optim_wrapper.type == name
