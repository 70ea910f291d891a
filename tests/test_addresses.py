"""Checkpoints named by addresses: files, the web, the Hub, other kinds."""

import hashlib
import io
import threading

import pytest
import torch
from loopback import send, send_forever, serving
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from tinyvim_mm.conversion import convert_checkpoint
from tinyvim_mm.core.errors import CheckpointError, UsageError
from tinyvim_mm.inference import predict
from tinyvim_mm.recipes.starting_weights import (
    check_pretrained,
    check_teacher,
    existing_checkpoint,
)
from tinyvim_mm.weights import downloads, install_safe_loader, load_file


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


class Code:
    def __reduce__(self):
        return exec, ('raise SystemExit("code from a checkpoint was run")',)


WEIGHTS = {'a.weight': torch.arange(6.0).reshape(2, 3)}
FILE = saved(WEIGHTS)
SHA256 = hashlib.sha256(FILE).hexdigest()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ('http_proxy', 'https_proxy', 'all_proxy'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv(downloads.VARIABLE, raising=False)


@pytest.fixture
def allowed(monkeypatch):
    monkeypatch.setenv(downloads.VARIABLE, '1')


@pytest.fixture
def safe_loader(monkeypatch):
    from mmengine.runner import checkpoint

    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    monkeypatch.setattr(checkpoint, 'load_from_http', checkpoint.load_from_http)
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    install_safe_loader()


def assert_loaded(content):
    assert torch.equal(content['a.weight'], WEIGHTS['a.weight'])


# -- files ---------------------------------------------------------------------------------


def test_addresses_of_files_are_files(tmp_path):
    path = tmp_path / 'a b.pth'
    path.write_bytes(FILE)
    for address in (path.as_uri(), f'file://localhost{path.as_uri()[7:]}'):
        assert_loaded(load_file(address))
        assert_loaded(load_file(f'{address}#sha256={SHA256}'))
        assert existing_checkpoint(address, '--checkpoint') == address
    with pytest.raises(CheckpointError, match=f'is another file: its SHA-256 is {SHA256}'):
        load_file(f'{path.as_uri()}#sha256={"0" * 64}')
    with pytest.raises(UsageError, match=r'--resume: there is no file .*no\.pth'):
        existing_checkpoint((tmp_path / 'no.pth').as_uri(), '--resume')
    path.write_bytes(saved({'a': torch.zeros(1).expand(10**6, 10**6)}))
    with pytest.raises(CheckpointError, match='its tensor a claims the shape'):
        load_file(path.as_uri())


@pytest.mark.parametrize(
    'address',
    [
        *('ftp://h/x.pth', 'gopher://h/x.pth', '://', 'x://y://z', 'FILE:///x.pth', 'data://,x'),
        *('file://', 'file://elsewhere/x.pth', 'file://x.pth', 'file:///x.pth#md5=1'),
        *('http://h/x.pth#sha256=12', 'hf://a', 's3://bucket/x.pth', 'http://h/x.pth'),
    ],
)
def test_other_addresses_are_refused_in_one_line(address, monkeypatch):
    monkeypatch.setattr(downloads, '_fetch', lambda *_: pytest.fail('fetched'))
    with pytest.raises(CheckpointError) as caught:
        load_file(address)
    assert str(caught.value).startswith(address)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('address', ['http://[h/x.pth', 'https://[::1/x.pth', 'file://[h/x.pth'])
def test_addresses_that_are_none_are_refused_with_the_word_too(address, allowed):
    with pytest.raises(CheckpointError, match='is no address: '):
        load_file(address)
    with pytest.raises(UsageError, match=r'--checkpoint: .* is no address: '):
        existing_checkpoint(address, '--checkpoint')


# -- the web -------------------------------------------------------------------------------


def test_nothing_is_fetched_without_a_word(tmp_path, safe_loader, monkeypatch):
    with serving({'/x.pth': send(FILE)}) as (server, asked):
        address = f'{server}/x.pth'
        model = {'backbone': {'init_cfg': {'type': 'Pretrained', 'checkpoint': address}}}
        teacher = {'distillation': {'checkpoint': address}}
        ways = [
            lambda: load_file(address),
            lambda: load_file(address, trust=True),
            lambda: CheckpointLoader.load_checkpoint(address),
            lambda: CheckpointLoader.load_checkpoint('torchvision://resnet50'),
            lambda: existing_checkpoint(address, '--checkpoint'),
            lambda: check_pretrained(Config({'model': model})),
            lambda: check_pretrained(Config({'model': {'parts': [model]}})),
            lambda: check_pretrained(Config({'load_from': address})),
            lambda: check_teacher(Config({'model': teacher})),
            lambda: convert_checkpoint(address, tmp_path / 'x.pth'),
            lambda: predict(tmp_path, 'x', address, tmp_path / 'out'),
        ]
        for way in ways:
            with pytest.raises((CheckpointError, UsageError), match='give --allow-download'):
                way()
        monkeypatch.setenv(downloads.VARIABLE, '0')
        with pytest.raises(CheckpointError, match='give --allow-download'):
            load_file(address)
    assert asked == []


def test_with_the_word_it_is_fetched_and_is_a_file(safe_loader, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.tempfile, 'tempdir', str(tmp_path))
    with serving({'/x.pth?v=1': send(FILE)}) as (server, _):
        address = f'{server}/x.pth?v=1'

        @downloads.with_word
        def read(load, *, allow_download=False):
            existing_checkpoint(address, '--checkpoint')
            check_pretrained(Config({'load_from': address}))
            return load(f'{address}#sha256={SHA256}')

        assert_loaded(read(load_file, allow_download=True))
        assert_loaded(read(CheckpointLoader.load_checkpoint, allow_download=True))
        with pytest.raises(UsageError, match='give --allow-download'):
            read(load_file)
    assert list(tmp_path.iterdir()) == []


def test_names_of_mmengine_are_fetched_here(safe_loader, allowed, monkeypatch):
    from mmengine.runner import checkpoint

    with serving({'/r.pth': send(FILE)}) as (server, _):
        monkeypatch.setattr(
            checkpoint, 'get_torchvision_models', lambda: {'resnet50': f'{server}/r.pth'}
        )
        assert_loaded(load_file('torchvision://resnet50'))
        assert_loaded(CheckpointLoader.load_checkpoint('torchvision://resnet50'))
        with pytest.raises(CheckpointError, match='mmengine knows no such name'):
            load_file('torchvision://resnet51')


WRONG = {
    'bomb.pth': (
        send(saved({'a': torch.zeros(1).expand(10**6, 10**6)})),
        'its tensor a claims the shape',
    ),
    'code.pth': (send(saved({'a': Code()})), 'could execute code'),
    'nan.pth': (send(saved({'a': torch.tensor(torch.nan)})), 'hold NaN or infinity: a'),
    'junk.pth': (send(b'junk'), 'is damaged'),
    'empty.pth': (send(b''), 'is damaged'),
    'missing.pth': (None, 'cannot be had: .*Not Found'),
    'error.pth': (send(b'', code=500), 'cannot be had: .*Internal Server Error'),
    'short.pth': (send(FILE, length=90_000), f'sent {len(FILE):,} of 90,000 bytes'),
    'announced.pth': (send(FILE, length=10**15), 'it has 1,000,000,000,000,000 bytes or more'),
    'length.pth': (send(FILE, length='many'), 'cannot be had'),
    'endless.pth': (send_forever, r'it has 1\d\d,\d\d\d bytes or more; at most 100,000'),
    'page.pth': (send(b'<html>', kind='text/html'), 'sent a web page'),
    'to ftp.pth': (send(b'', code=302, Location='ftp://h/x'), 'ftp://h/x, which is not followed'),
    'to file.pth': (
        send(b'', code=302, Location='file:///x'),
        'cannot be had: .*file:///x.* is not allowed',
    ),
    'loop.pth': (send(b'', code=302, Location='/loop.pth'), 'cannot be had: .*infinite loop'),
    '..': (send(FILE), None),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_servers_may_send(name, allowed, monkeypatch):
    answer, words = WRONG[name]
    monkeypatch.setattr(downloads, 'MAX_BYTES', 10**5)
    path = f'/{name.replace(" ", "-")}'
    with serving({path: answer}) as (server, _):
        if words is None:
            assert_loaded(load_file(server + path))
            return
        with pytest.raises(CheckpointError, match=words) as caught:
            load_file(server + path)
    assert server + path in str(caught.value)
    assert '\n' not in str(caught.value)


def test_another_file_is_told_by_its_checksum(allowed):
    other = send(saved({'b': torch.ones(1)}))
    refused = pytest.raises(CheckpointError, match='is another file: its SHA-256 is')
    with serving({'/x.pth': other}) as (server, _), refused:
        load_file(f'{server}/x.pth#sha256={SHA256}')


def test_servers_that_keep_silent_or_trickle_are_given_up(allowed, monkeypatch):
    monkeypatch.setattr(downloads, 'SILENCE', 0.1)
    never = threading.Event()
    answers = {'/silent.pth': lambda _: never.wait(30), '/slow.pth': send_forever}
    with serving(answers) as (server, _):
        with pytest.raises(CheckpointError, match='cannot be had: timed out'):
            load_file(f'{server}/silent.pth')
        never.set()
        monkeypatch.setattr(downloads, 'MIN_RATE', 1e15)
        with pytest.raises(CheckpointError, match='the server is too slow'):
            load_file(f'{server}/slow.pth')


def test_nobody_listens(allowed):
    with serving({}) as (server, _):
        pass
    with pytest.raises(CheckpointError, match=r'cannot be had: .*refused'):
        load_file(f'{server}/x.pth')


@pytest.mark.parametrize('address', ['data:http://,x', 'x:https://h/x.pth'])
def test_a_prefix_makes_no_storage_of_the_web(address):
    with pytest.raises(CheckpointError, match='is of a kind that is not read here'):
        load_file(address)


def test_remote_storage_passes_the_same_checks(tmp_path, monkeypatch):
    import contextlib

    from mmengine import fileio

    @contextlib.contextmanager
    def get_local_path(_):
        path = tmp_path / 'x.pth'
        path.write_bytes(content)
        yield path

    monkeypatch.setattr(fileio, 'get_local_path', get_local_path)
    content = FILE
    assert_loaded(load_file('cluster:s3://bucket/x.pth'))
    content = saved({'a': Code()})
    with pytest.raises(CheckpointError, match=r's3://bucket/x\.pth holds a pickled object'):
        load_file('s3://bucket/x.pth')


def test_remote_storage_gives_safetensors_under_another_name(tmp_path, monkeypatch):
    safetensors = pytest.importorskip('safetensors.torch')
    import contextlib

    from mmengine import fileio

    path = tmp_path / 'tmp1234'  # as mmengine calls it
    path.write_bytes(safetensors.save(WEIGHTS))
    monkeypatch.setattr(fileio, 'get_local_path', lambda _: contextlib.nullcontext(path))
    assert_loaded(load_file('s3://bucket/x.safetensors')['state_dict'])


# -- the Hub, with its own library ---------------------------------------------------------


@pytest.fixture
def real_hub(monkeypatch, tmp_path):
    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    answers = {}
    with serving(answers) as (server, asked):
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server)
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        monkeypatch.setattr(constants, 'ENDPOINT', server)

        def give(content, answer=None, **headers):
            facts = {'X_Repo_Commit': '0' * 40, 'ETag': '"e"', **headers}
            whole, other = send(content, **facts), answer or send(content, **facts)
            answers['/a/b/resolve/main/x.pth'] = lambda handler: (
                whole if handler.command == 'HEAD' else other
            )(handler)
            return asked

        yield give


HUB = 'hf://a/b/x.pth'


def test_the_hub_gives_a_file(real_hub):
    asked = real_hub(FILE)
    assert_loaded(load_file(HUB))
    assert ('GET', '/a/b/resolve/main/x.pth') in asked


@pytest.mark.parametrize(
    ('content', 'answer', 'words'),
    [
        (FILE, send(FILE[:-9]), 'cannot be had: '),
        (FILE, send(FILE + b'more'), 'cannot be had: '),
        (FILE, send(FILE, code=500), 'cannot be had: '),
        (saved({'a': Code()}), None, 'could execute code'),
        (saved({'a': torch.zeros(1).expand(10**6, 10**6)}), None, 'its tensor a claims'),
        (b'<html>', None, 'is damaged'),
    ],
    ids=['too little', 'too much', 'error', 'code', 'bomb', 'another file'],
)
def test_the_hub_gives_something_else(content, answer, words, real_hub, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda _: None)  # before the library tries again
    real_hub(content, answer)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_file(HUB)
    assert str(caught.value).startswith(HUB)


def test_the_hub_keeps_silent(real_hub, monkeypatch):
    from huggingface_hub import constants

    never = threading.Event()
    monkeypatch.setattr('time.sleep', lambda _: None)  # before the library tries again
    monkeypatch.setattr(constants, 'HF_HUB_DOWNLOAD_TIMEOUT', 0.1)
    asked = real_hub(FILE, lambda _: never.wait(30))
    with pytest.raises(CheckpointError, match=f'{HUB} cannot be had: '):
        load_file(HUB)
    assert 1 < len(asked) < 20
    never.set()


@pytest.mark.parametrize(
    ('start', 'target', 'followed'),
    [
        ('https://h/x', 'http://h/x', False),
        ('https://h/x', 'https://other/x', True),
        ('http://h/x', 'https://h/x', True),
    ],
)
def test_redirection_never_becomes_unsafe(start, target, followed):
    request = downloads.urllib.request.Request(start)
    redirect = downloads._Redirects().redirect_request
    if followed:
        assert redirect(request, None, 302, '', {}, target).full_url == target
        return
    with pytest.raises(ValueError, match='is not followed'):
        redirect(request, None, 302, '', {}, target)


@pytest.mark.parametrize('value', ['0', '', 'false', 'no'])
def test_other_values_of_the_variable_are_no_word(value, monkeypatch):
    monkeypatch.setenv(downloads.VARIABLE, value)
    with pytest.raises(CheckpointError, match='is not fetched unasked'):
        load_file('https://127.0.0.1/x.pth')


def test_the_word_may_be_given_by_position():
    @downloads.with_word
    def function(name, allow_download=False):
        downloads.require_word(name)

    function('https://127.0.0.1/x.pth', True)
    with pytest.raises(CheckpointError, match='is not fetched unasked'):
        function('https://127.0.0.1/x.pth')


def test_what_may_run_code_is_not_taken_from_an_open_wire(allowed):
    with pytest.raises(CheckpointError, match='may not run code: anybody between'):
        load_file('http://127.0.0.1:9/x.pth', trust=True)
    with serving({'/x.pth': send(FILE)}) as (server, _):
        found = load_file(f'{server}/x.pth#sha256={SHA256}', trust=True)
        assert torch.equal(found['a.weight'], WEIGHTS['a.weight'])
