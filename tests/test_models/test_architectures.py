"""Each number of an architecture stands in one place, and whoever needs it reads it there."""

import dataclasses

import pytest
import torch

from tinyvim_mm import get_config, list_models
from tinyvim_mm.export import networks as exported
from tinyvim_mm.measuring.cost import count
from tinyvim_mm.models import MobileMamba, TinyViM, VMamba
from tinyvim_mm.models.catalogue import BACKBONES, build_network
from tinyvim_mm.reproduction import networks
from tinyvim_mm.reproduction.tables import TABLES


def toolbox(name):
    return pytest.importorskip(f'{name}.models')


@pytest.fixture
def wider(monkeypatch):
    """TinyViM-S with a wider last stage, for larger images."""
    before = TinyViM.arch_settings['s']
    spec = dataclasses.replace(before, embed_dims=(48, 64, 168, 256), image_size=320)
    monkeypatch.setitem(TinyViM.arch_settings, 's', spec)
    return spec


def test_a_width_changes_the_network(wider):
    model = build_network('tinyvim_s')
    assert model.embed_dims == wider.embed_dims
    assert model.eval()(torch.rand(1, 3, 64, 64))[-1].shape == (1, 256, 2, 2)
    assert TinyViM.find_arch(model.state_dict()) == 's'


def test_a_width_changes_the_entry_of_timm(wider):
    pytest.importorskip('torchvision')
    bridge = pytest.importorskip('tinyvim_mm.integrations.timm')
    import timm

    model = timm.create_model('tinyvim_s', num_classes=2)
    assert model.num_features == model.head.head.in_features == 256
    assert model.feature_info[-1]['num_chs'] == 256
    assert bridge._cfg('tinyvim_s')['input_size'] == (3, 320, 320)


def test_an_image_size_changes_the_export(wider):
    assert exported.input_size('mmpretrain', TinyViM('s')) == (320, 320)
    assert exported.input_size('mmpretrain', MobileMamba('b4')) == (512, 512)
    assert exported.input_size('mmseg', TinyViM('s')) == (512, 512)
    assert exported.input_size('mmpretrain', torch.nn.Identity()) == (224, 224)


def test_a_width_changes_the_tables(monkeypatch):
    def parameters(name, row_name):
        (row,) = (row for row in TABLES[name].rows if row.name == row_name)
        with torch.device('meta'):
            if name == 'backbones-224x224':
                return count(networks._backbone(row.network), (64, 64), macs=False).parameters
            return count(networks._recipe('segmentation', row.network), (64, 64), False).parameters

    toolbox('mmseg')
    rows = ('backbones-224x224', 'VMamba-S'), ('segmentation-mamba', 'UPerNet, VMamba-S')
    before = [parameters(*row) for row in rows]
    spec = dataclasses.replace(VMamba.arch_settings['s'], embed_dims=(96, 192, 384, 800))
    monkeypatch.setitem(VMamba.arch_settings, 's', spec)
    assert all(parameters(*row) > old for row, old in zip(rows, before, strict=True))


def test_equal_means_the_same_network():
    b1, b4 = MobileMamba.arch_settings['b1'], MobileMamba.arch_settings['b4']
    assert b1 == b4
    assert (b1.image_size, b4.image_size) == (256, 512)
    assert VMamba.arch_settings['t'] != dataclasses.replace(VMamba.arch_settings['t'], expansion=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        b1.image_size = 224


def test_nothing_hangs_on_a_name(monkeypatch):
    monkeypatch.setitem(VMamba.arch_settings, 'renamed', VMamba.arch_settings['t'])
    assert VMamba('renamed').stages[0].blocks[0].mixer.conv.in_channels == 96
    custom = {'embed_dims': (96, 192, 384, 768), 'depths': (2, 2, 8, 2)}
    assert VMamba(custom).stages[0].blocks[0].mixer.conv.in_channels == 192


@pytest.mark.parametrize('name', [n for n in list_models() if n.endswith('_in1k')])
def test_recipes_agree_with_the_architecture(name):
    toolbox('mmpretrain')
    cfg = get_config(name)
    backbone = cfg.model.backbone
    spec = BACKBONES[backbone.type.rpartition('.')[2].lower()].arch_settings[backbone.arch]
    assert cfg.model.head.in_channels == spec.embed_dims[-1]
    assert backbone.get('drop_path_rate', 0.0) == spec.drop_path_rate
    steps = {step.type: step for step in cfg.test_dataloader.dataset.pipeline}
    side = steps['CenterCrop'].crop_size
    assert side == spec.image_size
    assert side / steps['ResizeEdge'].scale == pytest.approx(spec.crop_share, abs=0.005)
