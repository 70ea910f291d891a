"""``tools/analyze.py``: what it measures, against known answers, and the tool itself."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tinyvim_mm import get_config
from tinyvim_mm.analysis import networks as analysis_networks
from tinyvim_mm.analysis import peers as analysis_peers
from tinyvim_mm.analysis.activations import ActivationRecorder
from tinyvim_mm.analysis.feature_maps import principal_components
from tinyvim_mm.analysis.pictures import load_pictures
from tinyvim_mm.analysis.receptive_field import area_shares, effective_receptive_field
from tinyvim_mm.analysis.recording import find_mixers, stage_outputs
from tinyvim_mm.analysis.spectrum import Spectrum
from tinyvim_mm.commands.analyze import main
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.models import LaplaceMixer, TinyViM
from tinyvim_mm.models.layers import SS2D
from tinyvim_mm.visualization.activations import FP16_MAX
from tinyvim_mm.visualization.figure import new_figure

PHOTOGRAPHS = PROJECT_ROOT / 'data' / 'sample' / 'coco' / 'val2017'
ARCH = dict(embed_dims=(8, 8, 16, 24), depths=(1, 1, 2, 1))
TINY = ['--size', '64', '96', '--limit', '2', '--dpi', '40']


def spectrum_of(maps):
    spectrum = Spectrum()
    spectrum.add(maps)
    return spectrum


# -- spectra -----------------------------------------------------------------------


def test_spectrum_of_a_cosine_has_one_frequency_and_half_the_amplitude():
    wave = 3 * torch.cos(2 * torch.pi * 4 * torch.arange(32) / 32)
    spectrum = spectrum_of(wave.expand(2, 5, 16, 32))
    expected = np.zeros((16, 32))
    expected[8, 16 - 4] = expected[8, 16 + 4] = 1.5
    np.testing.assert_allclose(spectrum.amplitude, expected, atol=1e-6)
    frequencies, amplitudes = spectrum.profile()
    assert frequencies[amplitudes.argmax()] == 4 / 16  # of Nyquist
    assert spectrum.high_share() < 1e-12


def test_spectrum_of_a_constant_is_its_value_at_zero():
    spectrum = spectrum_of(torch.full((1, 1, 7, 9), -2.0))
    assert spectrum.amplitude[3, 4] == pytest.approx(2)
    assert spectrum.profile()[1] == pytest.approx([2, 0, 0, 0])


def test_spectrum_of_a_chessboard_is_high():
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing='ij')
    board = 1.0 - 2 * ((rows + columns) % 2)
    assert spectrum_of(board[None, None]).high_share() == 1


def test_spectra_average_the_power_of_maps():
    spectrum = spectrum_of(torch.full((1, 1, 4, 4), 1.0))
    spectrum.add(torch.full((1, 1, 4, 4), 7.0))
    assert spectrum.amplitude.max() == pytest.approx(5)  # root of (1 + 49) / 2


# -- receptive fields ----------------------------------------------------------------


def test_receptive_field_of_a_convolution_is_its_kernel():
    conv = nn.Conv2d(3, 4, 3, padding=1)
    nn.init.constant_(conv.weight, -0.5)
    field = effective_receptive_field(conv, list(torch.rand(2, 1, 3, 9, 12)))
    expected = np.zeros((9, 12))
    expected[3:6, 5:8] = 1 / 9
    np.testing.assert_allclose(field, expected, atol=1e-7)
    assert area_shares(field)['99%'] == 9 / 108


def test_areas_count_the_fewest_pixels():
    field = np.array([[0.3, 0.05], [0.6, 0.05]])
    assert area_shares(field) == {'50%': 0.25, '90%': 0.5, '99%': 1.0}


@pytest.mark.parametrize('value', [0.0, float('nan')])
def test_no_receptive_field_is_an_error(value):
    with pytest.raises(UsageError, match='zero or not finite'):
        effective_receptive_field(lambda image: image * value, [torch.rand(1, 3, 8, 8)])


# -- feature maps --------------------------------------------------------------------


def test_principal_components_of_two_patterns():
    first, second = torch.randn(2, 6, 8)
    features = 5 * torch.stack([first, first]) + torch.stack([second, -second])
    scores, shares = principal_components(features)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] > 0.9
    assert torch.equal(scores[..., 2], torch.zeros(6, 8, dtype=torch.double))  # of two channels
    pattern = torch.stack([scores[..., 0].flatten(), first.double().flatten()])
    assert torch.corrcoef(pattern)[0, 1] > 0.99


# -- activations ---------------------------------------------------------------------


class Known(nn.Module):
    def forward(self, x):
        return torch.tensor([0.0, 0.0, -4.0, 1.0, float('inf'), float('nan'), 5.0, 2.0]) + 0 * x


def test_activations_count_what_is_not_finite():
    network = nn.Sequential(Known(), nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)))
    with ActivationRecorder(network) as recorder:
        network(torch.zeros(8))
        network(torch.zeros(8))
    known, relu = recorder.statistics()
    assert (known.name, known.kind, known.values) == ('0', 'Known', 16)
    assert (known.non_finite, known.zeros, known.max_abs) == (0.25, 0.25, 5.0)
    assert known.mean == pytest.approx(4 / 6)
    assert known.std == pytest.approx(np.std([0, 0, -4, 1, 5, 2]))
    # What passes a tensor on is left out; what changes it in place is not.
    assert relu.name == '1.1'
    assert relu.zeros == 0.375
    assert known.facts()['share_of_fp16_max'] == 5 / FP16_MAX


def test_activations_know_the_scan_before_its_norm():
    scan = SS2D(4)
    with ActivationRecorder(scan) as recorder, torch.no_grad():
        scan(torch.randn(1, 4, 5, 5))
    assert [layer.name for layer in recorder.statistics()] == ['.scan', 'out_norm']


# -- finding layers ------------------------------------------------------------------


class Stage(nn.Module):
    """What a backbone that is no TinyViM may look like."""

    def __init__(self, channels):
        super().__init__()
        self.token_mixer = SS2D(channels)

    def forward(self, x):
        return x[..., ::2, ::2] + self.token_mixer(x[..., ::2, ::2])


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([Stage(3), nn.Conv2d(3, 3, 1)])

    def forward(self, x):
        for stage in self.stages:
            x = stage(x)
        return x.mean()


def test_mixers_are_found_by_class():
    mixers = find_mixers(TinyViM(dict(ARCH, depths=(1, 1, 3, 1))))
    assert [mixer.stage for mixer in mixers] == [0, 1, 2, 2, 3]
    assert all(isinstance(mixer.module, LaplaceMixer) for mixer in mixers)
    assert list(mixers[0].scans) == ['stages.0.blocks.0.mixer.ss2d']
    (mixer,) = find_mixers(Foreign())
    assert (mixer.name, mixer.scans, mixer.is_laplace) == ('stages.0.token_mixer', {}, False)
    with pytest.raises(UsageError, match='TinyViM has no layer that scans'):
        find_mixers(TinyViM(ARCH, scan_frequencies='none'))
    with pytest.raises(UsageError, match='no layer that scans'):
        find_mixers(SimpleNamespace(stages=nn.ModuleList([nn.ReLU()])))
    with pytest.raises(UsageError, match='called stages'):
        find_mixers(nn.ReLU())


def test_outputs_of_stages_are_those_of_the_backbone():
    backbone = TinyViM(ARCH, normalize_outputs=False).eval()
    images = torch.rand(1, 3, 64, 96)
    found, expected = stage_outputs(backbone, images), backbone(images)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert [tuple(m.shape) for m in stage_outputs(Foreign(), images)] == [(1, 3, 32, 48)] * 2
    assert not any(module._forward_hooks for module in backbone.modules())


# -- pictures and networks -----------------------------------------------------------


def test_pictures_are_scaled_to_cover_and_cropped_at_the_center(tmp_path):
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, 40:80] = (200, 100, 50)  # BGR
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    names, (picture,) = load_pictures([tmp_path], (20, 20), limit=3)
    assert names == ['a.png']
    assert picture.shape == (20, 20, 3)
    assert picture[10, 10].tolist() == [50, 100, 200]
    assert picture.min() == 50  # nothing of the black sides


def test_networks_get_the_colors_that_they_take():
    network = analysis_networks.Network(
        'x', nn.Conv2d(3, 3, 1), None, list, mean=(1, 2, 3), std=(1, 1, 2), rgb=False
    )
    pixel = network.normalize([np.array([[[9, 8, 7]]], np.uint8)])
    assert pixel.flatten().tolist() == [7 - 1, 8 - 2, (9 - 3) / 2]


def test_norms_among_random_weights_see_the_pictures():
    network = nn.Sequential(nn.BatchNorm2d(3))
    pictures = [np.random.RandomState(0).randint(0, 256, (16, 16, 3), np.uint8)] * 2
    wrapped = analysis_networks.Network('x', network, None, list)
    analysis_networks.settle_norms(wrapped, pictures)
    output = network(wrapped.normalize(pictures))
    assert not network.training
    assert network[0].momentum == 0.1
    assert output.mean((0, 2, 3)).abs().max() < 1e-5
    assert (output.std((0, 2, 3)) - 1).abs().max() < 0.01


def test_long_titles_stay_inside_their_figure():
    figure = new_figure((4, 2), 'a title ' * 12, 'A WARNING ' * 9)
    figure.canvas.draw()
    texts = [figure._suptitle, *figure.texts]
    boxes = [text.get_window_extent() for text in texts]
    assert len(boxes) >= 2
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)


# -- the tool ------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _tiny_architecture(monkeypatch):
    settings = TinyViM.arch_settings
    monkeypatch.setitem(settings, 's', dataclasses.replace(settings['s'], **ARCH))


def run(tmp_path, *argv):
    main([*map(str, argv), *TINY, '--out', str(tmp_path)])
    return json.loads((tmp_path / f'{argv[0]}.json').read_text())


def message(capsys, *argv):
    with pytest.raises(SystemExit) as caught:
        main(list(map(str, argv)))
    assert caught.value.code == 2
    return capsys.readouterr().err


def warns(path):
    """Whether a figure has letters in the color of the warning above its title."""
    image = cv2.imread(str(path)).astype(int)
    assert image.std() > 10
    crimson = np.abs(image[:40] - (60, 20, 220)).max(-1) < 40
    return crimson.mean() > 0.005


def test_spectrum_of_a_backbone_with_random_weights(tmp_path, capsys):
    report = run(tmp_path, 'spectrum', PHOTOGRAPHS, '--arch', 's')
    assert report['networks'] == [
        {'name': 'TinyViM-S', 'weights': 'random', 'factors_near_zero': 0}
    ]
    assert report['provenance']['command'].startswith('python tools/analyze.py spectrum')
    assert report['provenance']['torch'] == torch.__version__
    assert len(report['pictures']) == 2
    spectra = report['mixers'][0]['spectra']
    name = 'stages.0.blocks.0.mixer.ss2d'
    assert list(spectra) == ['mixer', name, 'low branch', 'high branch']
    assert spectra['mixer']['before']['size'] == [16, 24]
    assert spectra[name]['after']['size'] == [2, 3]  # pooled by 8
    for spectrum in (side for pair in spectra.values() for side in pair.values()):
        assert max(spectrum['log10_amplitude_over_largest']) == 0
    assert 'low branch' in capsys.readouterr().out
    assert warns(tmp_path / 'spectrum.png')
    assert warns(tmp_path / 'branches.png')


def test_checkpoint_of_a_backbone_silences_the_warning(tmp_path):
    torch.manual_seed(3)
    backbone = TinyViM('s', normalize_outputs=False)
    state = {f'backbone.{key}': value for key, value in backbone.state_dict().items()}
    torch.save({'state_dict': state}, tmp_path / 'weights.pth')
    options = ['--arch', 's', '--checkpoint', tmp_path / 'weights.pth']
    report = run(tmp_path, 'features', PHOTOGRAPHS, *options)
    assert report['networks'] == [{'name': 'TinyViM-S', 'weights': 'weights.pth'}]
    assert not warns(tmp_path / 'features.png')
    stages = report['stages'][report['pictures'][0]]
    assert [stage['shape'] for stage in stages] == [
        [8, 16, 24],
        [8, 8, 12],
        [16, 4, 6],
        [24, 2, 3],
    ]
    assert all(0 < sum(stage['variance_explained']) <= 1 + 1e-9 for stage in stages)


@pytest.mark.parametrize(
    ('toolbox', 'config'),
    [
        ('mmdet', 'mask_rcnn_tinyvim_s_1x_coco'),
        ('mmseg', 'fpn_tinyvim_s_40k_ade20k'),
        ('mmpretrain', 'tinyvim_s_300e_in1k'),
    ],
)
def test_activations_of_the_backbones_of_configs(toolbox, config, tmp_path, capsys):
    pytest.importorskip(toolbox)
    report = run(tmp_path, 'activations', PHOTOGRAPHS, '--model', config, '--deploy')
    assert report['networks'][0]['name'] == config
    names = [layer['name'] for layer in report['layers']]
    assert len(names) == len(set(names))
    assert names[0] == 'stem.0'
    assert 'stages.3.blocks.0.mixer.ss2d.scan' in names
    assert not any('.bn' in name for name in names)  # folded
    assert all(layer['non_finite'] == 0 for layer in report['layers'])
    assert 'of fp16' in capsys.readouterr().out
    assert warns(tmp_path / 'activations.png')


def test_a_trained_backbone_of_a_toolbox(tmp_path):
    pytest.importorskip('mmpretrain')
    from mmengine.registry import MODELS, DefaultScope

    config = 'resnet18_15e_imagenette'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(get_config(config).model)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'epoch_1.pth')
    found = analysis_networks.load_networks(
        [config], [], [str(tmp_path / 'epoch_1.pth')], [np.zeros((64, 64, 3), np.uint8)]
    )
    (network,) = found
    assert network.weights == 'epoch_1.pth'
    for key, value in network.backbone.state_dict().items():
        torch.testing.assert_close(value, model.backbone.state_dict()[key], rtol=0, atol=0)


def test_receptive_fields_beside_peers(tmp_path, capsys):
    pytest.importorskip('timm')
    import timm

    torch.save(timm.create_model('test_resnet').state_dict(), tmp_path / 'weights.pth')
    peers = ['test_resnet', f'test_resnet={tmp_path / "weights.pth"}', 'resnet_nobody_built']
    # One size only, and all outputs at stride 16.
    peers += ['test_vit']
    report = run(tmp_path, 'erf', PHOTOGRAPHS, '--arch', 's', '--stage', 2, '--peers', *peers)
    own, peer, loaded, unknown, transformer = report['fields']
    assert 0 < own['area_that_holds']['50%'] < own['area_that_holds']['99%'] <= 1
    # The seed is the same, but not the batch statistics.
    assert 0 < peer['area_that_holds']['99%'] != loaded['area_that_holds']['99%']
    assert (peer['weights'], loaded['weights']) == ('random', 'weights.pth')
    assert 'has no resnet_nobody_built; it has' in unknown['problem']
    assert 'no output of 8 x 12, which that stage has, but of 4 x 6' in transformer['problem']
    assert 'NOT MEASURED' in capsys.readouterr().out
    assert warns(tmp_path / 'erf.png')


def test_receptive_fields_without_timm(tmp_path, monkeypatch):
    find_spec = analysis_peers.find_spec
    monkeypatch.setattr(
        analysis_peers, 'find_spec', lambda name: None if name == 'timm' else find_spec(name)
    )
    monkeypatch.setitem(sys.modules, 'timm', None)
    report = run(tmp_path, 'erf', PHOTOGRAPHS, '--arch', 's', '--peers', 'resnet18')
    assert report['fields'][1]['name'] == 'resnet18'
    assert report['fields'][1]['problem'].startswith('timm is not installed: pip install timm')


def test_factors_that_begin_at_zero_are_told():
    norm = nn.BatchNorm2d(4)
    network = analysis_networks.Network('x', nn.Sequential(norm, nn.Conv2d(4, 4, 1)), None, list)
    assert network.described_weights == 'RANDOM WEIGHTS'
    norm.token = nn.Parameter(torch.zeros(1, 1, 4))  # is no factor
    nn.init.zeros_(norm.weight)
    assert network.described_weights == 'RANDOM WEIGHTS, 1 factor near 0'
    network.weights = 'file.pth'
    assert network.described_weights == 'weights: file.pth'


def test_errors_name_the_cure(tmp_path, capsys):
    def error(*argv):
        return message(capsys, 'spectrum', PHOTOGRAPHS, *argv)

    assert 'name a network: --model' in error()
    assert 'looks at one network, and 2 are named' in error('--arch', 's', 'b')
    assert '--size must be at least 32 32, got 16 64' in error('--arch', 's', '--size', '16', '64')
    assert 'there is no file' in error('--arch', 's', '--checkpoint', tmp_path / 'absent.pth')
    erf = ('erf', PHOTOGRAPHS, '--arch', 's', 'b')
    assert '1 checkpoints for 2 networks (s, b)' in message(capsys, *erf, '--checkpoint', 'random')
    assert '--stage 5: TinyViM-S has 4 stages' in message(
        capsys, 'erf', PHOTOGRAPHS, '--arch', 's', '--stage', '5', *TINY, '--out', tmp_path
    )
    assert '--stage counts from 1' in message(capsys, *erf, '--stage', 0)
    (tmp_path / 'bad.jpg').write_bytes(b'no picture')
    assert 'cannot be read: damaged' in message(
        capsys, 'features', tmp_path / 'bad.jpg', '--arch', 's'
    )
