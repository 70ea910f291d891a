"""Bridges to timm and to the Hugging Face Hub."""

import subprocess
import sys
import types

import golden
import pytest
import torch
from loopback import send, serving
from mmengine.runner.checkpoint import CheckpointLoader

from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.models import TinyViM, reparameterize
from tinyvim_mm.weights import downloads, hub
from tinyvim_mm.weights.files import load_file

# -- the Hub -----------------------------------------------------------------------

ADDRESS = 'hf://someone/tinyvim/weights/s.safetensors'


@pytest.fixture
def fake_hub(monkeypatch):
    """A stand-in for huggingface_hub: ``result`` is a path to return or an error to raise."""
    fake = types.ModuleType('huggingface_hub')
    fake.calls = []
    fake.constants = types.SimpleNamespace(ENDPOINT='https://hub.test')
    monkeypatch.setattr(hub.urllib.request, 'getproxies', dict)
    monkeypatch.setattr(hub.socket, 'getaddrinfo', lambda *_: [])

    def hf_hub_download(
        repo_id, filename, *, revision=None, etag_timeout=10, local_files_only=False
    ):
        fake.calls.append((repo_id, filename, revision, etag_timeout, local_files_only))
        if isinstance(fake.result, BaseException):
            raise fake.result
        return str(fake.result)

    fake.hf_hub_download = hf_hub_download
    monkeypatch.setitem(sys.modules, 'huggingface_hub', fake)
    return fake


@pytest.fixture
def stored(tmp_path, fake_hub):
    """A file on the Hub with a whole TinyViM-S."""
    save_file = pytest.importorskip('safetensors.torch').save_file
    fake_hub.result = tmp_path / 's.safetensors'
    save_file(TinyViM('s').state_dict(), str(fake_hub.result))
    return fake_hub


@pytest.mark.parametrize(
    ('address', 'expected'),
    [
        ('hf://a/b/c.pth', ('a/b', 'c.pth', None)),
        ('hf://a/b/c/d.safetensors', ('a/b', 'c/d.safetensors', None)),
        ('hf://a/b/c.pth@v1.0', ('a/b', 'c.pth', 'v1.0')),
        ('hf://a/b/c.pth@refs/pr/1', ('a/b', 'c.pth', 'refs/pr/1')),
    ],
)
def test_addresses(address, expected):
    file = hub.parse(address)
    assert (file.repo_id, file.filename, file.revision) == expected


@pytest.mark.parametrize(
    'address',
    [
        'hf://',
        'hf://a',
        'hf://a/b',
        'hf://a/b/',
        'hf://a//c',
        'hf://a/b/c@',
        'hf://a/b/../c',
        'a/b/c',
    ],
)
def test_other_addresses_are_refused(address):
    with pytest.raises(hub.HubError, match='must be hf://owner/repository/path/to/file'):
        hub.parse(address)


def test_init_cfg_takes_a_file_of_the_hub(stored):
    checkpoint = f'{ADDRESS}@v2'
    backbone = TinyViM('s', init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
    backbone.init_weights()
    assert stored.calls == [
        ('someone/tinyvim', 'weights/s.safetensors', 'v2', hub.ANSWER_TIMEOUT, False)
    ]
    expected = load_file(str(stored.result))['state_dict']
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_without_a_network_the_cache_alone_is_asked(stored, monkeypatch):
    def unknown(host, _):
        assert host == 'hub.test'
        raise hub.socket.gaierror

    monkeypatch.setattr(hub.socket, 'getaddrinfo', unknown)
    load_file(ADDRESS)
    monkeypatch.setattr(hub.urllib.request, 'getproxies', lambda: {'https': 'proxy'})
    load_file(ADDRESS)
    assert [call[-1] for call in stored.calls] == [True, False]
    monkeypatch.setattr(hub.urllib.request, 'getproxies', dict)
    stored.result = FileNotFoundError('set local_files_only to False')
    with pytest.raises(CheckpointError, match='not fetched before, and the Hub cannot be reached'):
        load_file(ADDRESS)


def test_so_does_mmengine_itself(stored):
    loaded = CheckpointLoader.load_checkpoint(ADDRESS, map_location='cpu')
    assert set(loaded['state_dict']) == set(TinyViM('s').state_dict())


def test_pickled_code_on_the_hub_is_refused(fake_hub, tmp_path):
    class Harmful:
        def __reduce__(self):
            return print, ('code was executed',)

    fake_hub.result = tmp_path / 'x.pth'
    torch.save({'state_dict': Harmful()}, fake_hub.result)
    with pytest.raises(CheckpointError, match='could execute code'):
        load_file('hf://a/b/x.pth')


FAILURES = {
    'LocalEntryNotFoundError': 'An error happened while trying to locate the file on the Hub.',
    'OfflineModeIsEnabled': 'Cannot reach the Hub: unset the `HF_HUB_OFFLINE` variable.',
    'RepositoryNotFoundError': '404 Client Error.\n\nRepository Not Found for url: https://hub.',
    'GatedRepoError': '403 Client Error.\n\nAccess to model a/b is restricted.',
    'RuntimeError': 'disk full\nmore',
}


@pytest.mark.parametrize('failure', FAILURES)
def test_what_the_hub_says_is_passed_on(failure, fake_hub):
    text = FAILURES[failure]
    fake_hub.result = type(failure, (Exception,), {})(text)
    said = f'{failure}: {" ".join(text.split())}'
    with pytest.raises(CheckpointError) as caught:
        load_file(ADDRESS)
    assert str(caught.value) == (
        f'{ADDRESS} cannot be had: {said} Or copy the file here and give its path'
    )


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(CheckpointError, match='pip install huggingface_hub'):
        load_file(ADDRESS)


# -- timm --------------------------------------------------------------------------


def test_without_timm_the_bridge_says_what_to_install():
    code = 'import sys; sys.modules["timm"] = None; import tinyvim_mm.integrations.timm'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert 'MissingPackageError: tinyvim_mm.integrations.timm needs packages' in run.stderr
    assert "pip install 'timm'" in run.stderr


@pytest.fixture(scope='module')
def timm():
    from importlib.util import find_spec

    if find_spec('timm') is None:
        pytest.skip('timm is not installed')
    import tinyvim_mm.integrations.timm  # noqa: F401

    return sys.modules['timm']


@pytest.fixture(scope='module')
def released(tmp_path_factory):
    path = tmp_path_factory.mktemp('released') / 'tinyvim_s.pth'
    torch.save({'model': golden.released_state_dict('s', dense_norms=False)}, path)
    return path


IMAGE = torch.zeros(1, 3, 96, 64)


@torch.no_grad()
def test_released_weights_give_the_golden_logits(timm, released):
    model = timm.create_model('tinyvim_s', checkpoint_path=released).eval()
    image = golden.golden_input('image-a', (1, 3, 224, 224))
    expected = golden.load('tinyvim_s_image_a')['logits_a']
    golden.assert_close('logits', model(image), expected, golden.FEATURE_LIMIT)
    deployed = reparameterize(model)
    golden.assert_close('deployed', deployed(image), expected, 1e-4)


@torch.no_grad()
def test_features_are_the_maps_of_the_stages(timm, released):
    extractor = timm.create_model(
        'tinyvim_s', features_only=True, out_indices=(1, 2), checkpoint_path=released
    ).eval()
    assert extractor.feature_info.channels() == [64, 168]
    assert extractor.feature_info.reduction() == [8, 16]
    backbone = TinyViM('s', normalize_outputs=False, out_indices=(1, 2)).eval()
    backbone.load_pretrained(str(released))
    image = torch.randn(1, 3, 96, 64)
    expected = backbone(image)
    for found in (extractor(image), reparameterize(extractor)(image)):
        assert len(found) == 2
        for a, b in zip(found, expected, strict=True):
            golden.assert_close('feature', a, b, 1e-4)
    again = timm.create_model('tinyvim_s', features_only=True, out_indices=(1, 2))
    again.load_state_dict(extractor.state_dict())
    assert torch.equal(again.eval()(image)[1], extractor(image)[1])


def test_project_checkpoints_with_training_state_load(timm, tmp_path):
    from mmengine.logging import HistoryBuffer

    source = timm.create_model('tinyvim_s', num_classes=3)
    file = {
        'state_dict': source.state_dict(),
        'message_hub': {'log_scalars': {'loss': HistoryBuffer([1.0], [1])}},
    }
    torch.save(file, tmp_path / 'epoch_1.pth')
    model = timm.create_model('tinyvim_s', num_classes=3, checkpoint_path=tmp_path / 'epoch_1.pth')
    for key, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


def test_weights_of_another_size_are_an_error(timm, released):
    with pytest.raises(RuntimeError, match=r'fit this TinyViM-B\. It holds TinyViM-S'):
        timm.create_model('tinyvim_b', checkpoint_path=released)
    with pytest.raises(RuntimeError, match=r'head\.head\.weight is \(1000, 224\) in the file'):
        timm.create_model('tinyvim_s', num_classes=10, checkpoint_path=released)


def test_pretrained_needs_a_file(timm, released):
    with pytest.raises(RuntimeError, match=r'no weights are hosted .* checkpoint_path=FILE'):
        timm.create_model('tinyvim_s', pretrained=True)
    model = timm.create_model(
        'tinyvim_s',
        pretrained=True,
        num_classes=10,
        pretrained_cfg_overlay={'file': str(released)},
    )
    assert model.head.head.out_features == 10
    expected = load_file(str(released))['model']['norm.weight']
    assert torch.equal(model.head.norm.weight, expected)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ({'a': torch.zeros(1).expand(10**6, 10**6)}, 'its tensor a claims the shape'),
        ({'a': torch.full((3,), torch.nan)}, '1 tensors hold NaN or infinity: a'),
    ],
    ids=['bomb', 'nan'],
)
@pytest.mark.parametrize('way', ['checkpoint_path', 'file', 'features'])
def test_files_are_looked_at_before_timm_reads_them(way, content, words, timm, tmp_path):
    path = tmp_path / 'x.pth'
    torch.save(content, path)
    options = {
        'checkpoint_path': dict(checkpoint_path=path),
        'file': dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(path))),
        'features': dict(checkpoint_path=path, features_only=True),
    }
    with pytest.raises(CheckpointError, match=words):
        timm.create_model('tinyvim_s', **options[way])


@pytest.mark.parametrize('option', ['pretrained_cfg', 'pretrained_cfg_overlay'])
def test_addresses_are_fetched_by_word_alone(option, timm, released, monkeypatch):
    for name in ('http_proxy', 'HTTP_PROXY', downloads.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    with serving({'/x.pth': send(released.read_bytes())}) as (server, asked):
        options = {'pretrained': True, option: dict(url=f'{server}/x.pth')}
        with pytest.raises(CheckpointError, match='is not fetched unasked'):
            timm.create_model('tinyvim_s', **options)
        assert not asked
        monkeypatch.setenv(downloads.VARIABLE, '1')
        timm.create_model('tinyvim_s', **options)
        assert asked == [('GET', '/x.pth')]


def test_other_networks_of_timm_are_read_as_before(timm, tmp_path):
    source = timm.create_model('test_vit')
    torch.save(source.state_dict(), tmp_path / 'x.pth')
    model = timm.create_model('test_vit', checkpoint_path=tmp_path / 'x.pth')
    assert torch.equal(model.head.weight, source.head.weight)


def test_heads_can_be_replaced(timm):
    model = timm.create_model('tinyvim_s', num_classes=10, drop_rate=0.1).eval()
    assert model(IMAGE).shape == (1, 10)
    assert [layer.out_features for layer in model.get_classifier()] == [10, 10]
    model.reset_classifier(4)
    features = model.forward_features(IMAGE)
    assert features.shape == (1, 224, 3, 2)
    assert model.forward_head(features).shape == (1, 4)
    assert model.forward_head(features, pre_logits=True).shape == (1, 224)
    model.reset_classifier(0)
    assert model(IMAGE).shape == (1, model.num_features)
    model.reset_classifier(4, global_pool='')
    assert model(IMAGE).shape == (1, 4, 3, 2)
    final, (last,) = model.forward_intermediates(IMAGE, indices=1, norm=True)
    assert torch.equal(final, last)
    with pytest.raises(ValueError, match="global_pool must be 'avg'"):
        model.reset_classifier(4, global_pool='max')


def test_training_with_a_teacher_sees_both_heads(timm):
    model = timm.create_model('tinyvim_s', num_classes=2)
    batch = torch.randn(2, 3, 64, 64)
    assert model(batch).shape == (2, 2)
    model.set_distilled_training()
    assert [logits.shape for logits in model(batch)] == [(2, 2), (2, 2)]
    assert model.eval()(batch).shape == (2, 2)


def test_what_timm_reads_of_a_model(timm):
    model = timm.create_model('tinyvim_s', num_classes=0)
    config = timm.data.resolve_model_data_config(model)
    assert config['crop_pct'] == 0.9
    assert config['interpolation'] == 'bicubic'
    assert config['mean'] == timm.data.IMAGENET_DEFAULT_MEAN
    assert timm.list_models('tinyvim_*') == ['tinyvim_b', 'tinyvim_l', 'tinyvim_s']
    assert {name.split('.')[-1] for name in model.no_weight_decay()} == {'A_logs', 'Ds'}
    optim = pytest.importorskip('timm.optim')
    groups = optim.param_groups_layer_decay(model, layer_decay=0.5)
    grouped = sum(len(group['params']) for group in groups)
    assert grouped == len(list(model.parameters()))
    # The stem, and each block; the last norm goes with the last block.
    assert len({group['lr_scale'] for group in groups}) == 1 + 3 + 3 + 9 + 6


@torch.no_grad()
def test_mobilemamba_is_there_too(timm, tmp_path):
    path = tmp_path / 'mobilemamba_t2.pth'
    torch.save({'net_E': golden.released_state_dict('t2', family='mobilemamba')}, path)
    model = timm.create_model('mobilemamba_t2', checkpoint_path=path).eval()
    assert timm.data.resolve_model_data_config(model)['input_size'] == (3, 192, 192)
    expected = golden.load('mobilemamba_t2_evaluation')
    image = golden.golden_input('image-a', (1, 3, 192, 192))
    golden.assert_close('logits', model(image), expected['logits_a'], golden.FEATURE_LIMIT)
    deployed = reparameterize(model)
    golden.assert_close('deployed', deployed(image), expected['logits_a'], golden.FEATURE_LIMIT)
    extractor = timm.create_model('mobilemamba_t2', features_only=True, checkpoint_path=path)
    assert extractor.feature_info.reduction() == [16, 32, 64]
    for i, found in enumerate(extractor.eval()(image)):
        golden.assert_close(f'map {i}', found, expected[f'feat_a_{i}'], golden.FEATURE_LIMIT)
    model.reset_classifier(4)
    assert model(image).shape == (1, 4)


@pytest.mark.parametrize('name', ['vmamba_t', 'efficientvmamba_t'])
@torch.no_grad()
def test_so_are_the_vmambas(timm, name, tmp_path):
    model = timm.create_model(name, num_classes=3).eval()
    assert model.get_classifier() == (model.head.head, None)
    assert model.default_cfg['classifier'] == 'head.head'
    expected = model(IMAGE)
    assert torch.equal(expected, model.head(model.backbone(IMAGE)))
    pooled = model.forward_head(model.forward_features(IMAGE), pre_logits=True)
    assert torch.equal(pooled, model.head.pre_logits(model.backbone(IMAGE)))
    torch.save(model.state_dict(), tmp_path / 'x.pth')
    again = timm.create_model(name, num_classes=3, checkpoint_path=tmp_path / 'x.pth').eval()
    assert torch.equal(again(IMAGE), expected)
    torch.testing.assert_close(reparameterize(model)(IMAGE), expected, rtol=1e-3, atol=1e-5)
    model.reset_classifier(4)
    assert model(IMAGE).shape == (1, 4)
    extractor = timm.create_model(name, features_only=True, checkpoint_path=tmp_path / 'x.pth')
    assert extractor.feature_info.reduction() == [4, 8, 16, 32]
    with pytest.raises(TypeError, match='distillation'):
        timm.create_model(name, distillation=True)
