"""Conversion of checkpoints between the layouts of the releases and of this project."""

import argparse
import hashlib
import re
import sys

import golden
import pytest
import torch
from torch_abilities import needs_safe_types

from tinyvim_mm.commands.convert import main
from tinyvim_mm.conversion.layouts import convert
from tinyvim_mm.core.errors import CheckpointError
from tinyvim_mm.models import DistillationClassifier, TinyViM
from tinyvim_mm.weights.files import load_file

# Names and shapes as mmdet 2 and mmseg 0 write them; sizes are irrelevant.
DETECTION_PARTS = (
    'neck.lateral_convs.0.conv.weight',
    'neck.fpn_convs.3.conv.bias',
    'rpn_head.rpn_conv.weight',
    'roi_head.bbox_head.shared_fcs.0.weight',
    'roi_head.mask_head.convs.0.conv.weight',
    'roi_head.mask_head.conv_logits.bias',
)
SEGMENTATION_PARTS = (
    'neck.lateral_convs.0.conv.weight',
    'decode_head.conv_seg.weight',
    'decode_head.scale_heads.0.0.conv.weight',
    'decode_head.scale_heads.0.0.bn.num_batches_tracked',
)


def classification(arch='s'):
    return golden.released_state_dict(arch, dense_norms=False)


def dense(parts, arch='s'):
    state = {
        f'backbone.{key}': value
        for key, value in golden.released_state_dict(arch).items()
        if key.split('.')[0] not in ('norm', 'head', 'dist_head')
    }
    return {**state, **{key: torch.randn(2, 3).t() for key in parts}}


def assert_identical(actual, expected):
    assert list(actual) == list(expected)
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype, key
        assert actual[key].shape == value.shape, key
        a, b = (t.contiguous().reshape(-1).view(torch.uint8) for t in (actual[key], value))
        assert torch.equal(a, b), key


def run(*argv):
    main([str(arg) for arg in argv])


@pytest.fixture
def released(tmp_path):
    path = tmp_path / 'released.pth'
    torch.save({'model': classification(), 'epoch': 299}, path)
    return path


CASES = {
    'classification': (classification, 'model'),
    'detection': (lambda: dense(DETECTION_PARTS), 'state_dict'),
    'segmentation': (lambda: dense(SEGMENTATION_PARTS), 'state_dict'),
}


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('task', CASES)
def test_there_and_back_is_bit_identical(task, suffix, tmp_path, capsys):
    if suffix == '.safetensors':
        pytest.importorskip('safetensors')
    make, wrapper = CASES[task]
    state = make()
    key = next(key for key in state if key.endswith('A_logs'))
    state[key] = state[key].half()  # types are kept
    state[key].view(-1)[0] = float('nan')  # and what no comparison of numbers sees
    files = [tmp_path / name for name in ('a.pth', f'b{suffix}', f'c{suffix}')]
    torch.save({wrapper: state}, files[0])
    run(*files[:2])
    run(*files[1:], '--to', 'released')

    there, back = (load_file(str(file), finite=False) for file in files[1:])
    assert_identical(back['state_dict' if suffix != '.pth' else wrapper], state)
    assert there['meta']['task'] == back['meta']['task'] == task
    assert there['meta']['arch'] == 's'
    account = capsys.readouterr().out
    assert f'TinyViM-S, {task}, from the released to the project layout' in account


@pytest.mark.parametrize('arch', ['s', 'b', 'l'])
def test_every_key_has_its_place_in_the_model(arch):
    shapes = {**golden.released_keys(arch), **golden.released_keys(arch, 'dense_norms')}
    # Zeros that take no memory: only names and shapes matter here.
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    conversion = convert(state, 'checkpoint')
    expected = {f'backbone.{key}' for key in TinyViM(arch).state_dict()}
    head = DistillationClassifier(TinyViM.arch_settings[arch].embed_dims[-1])
    expected |= {f'head.{key}' for key in head.state_dict()}
    assert set(conversion.state) == expected
    assert (conversion.arch, conversion.absent) == (arch, [])
    back = convert(conversion.state, 'checkpoint', to='released')
    assert list(back.state) == list(state)


def test_converted_weights_give_the_golden_logits(released, tmp_path):
    run(released, tmp_path / 'project.pth')
    state = load_file(str(tmp_path / 'project.pth'))['state_dict']
    model = torch.nn.ModuleDict(
        {
            'backbone': TinyViM('s', out_indices=(3,), normalize_outputs=False),
            'head': DistillationClassifier(224),
        }
    ).eval()
    model.load_state_dict(state)
    with torch.no_grad():
        image = golden.golden_input('image-a', (1, 3, 224, 224))
        logits = model['head'](model['backbone'](image)[0])
    expected = golden.load('tinyvim_s_image_a')['logits_a']
    golden.assert_close('logits', logits, expected, golden.FEATURE_LIMIT)


def test_converted_weights_fill_the_classifier_of_the_configs(released, tmp_path):
    pytest.importorskip('mmpretrain')
    from mmpretrain import get_model

    from tinyvim_mm import get_config

    run(released, tmp_path / 'project.pth')
    model = get_model(get_config('tinyvim_s_300e_in1k'))
    model.load_state_dict(load_file(str(tmp_path / 'project.pth'))['state_dict'])
    with torch.no_grad():
        logits = model(golden.golden_input('image-a', (1, 3, 224, 224)))
    expected = golden.load('tinyvim_s_image_a')['logits_a']
    golden.assert_close('logits', logits, expected, golden.FEATURE_LIMIT)


@pytest.mark.parametrize(
    ('toolbox', 'config'),
    [('mmdet', 'mask_rcnn_tinyvim_s_1x_coco'), ('mmseg', 'fpn_tinyvim_s_40k_ade20k')],
)
def test_converted_detectors_and_segmentors_fit_the_configs(toolbox, config):
    pytest.importorskip(toolbox)
    from mmengine.registry import MODELS, DefaultScope

    from tinyvim_mm import get_config

    cfg = get_config(config)
    with torch.device('meta'), DefaultScope.overwrite_default_scope(toolbox):
        model = MODELS.build(cfg.model)
    expected = {key: value.shape for key, value in model.state_dict().items()}
    state = dense(())
    state.update({k: v for k, v in model.state_dict().items() if not k.startswith('backbone.')})
    conversion = convert(state, 'checkpoint')
    assert {key: value.shape for key, value in conversion.state.items()} == expected
    assert list(convert(conversion.state, 'checkpoint', to='released').state) == list(state)


def test_the_output_says_where_it_comes_from(released, tmp_path):
    run(released, tmp_path / 'project.pth')
    meta = load_file(str(tmp_path / 'project.pth'))['meta']
    assert meta['source'] == 'released.pth'
    assert meta['source_sha256'] == hashlib.sha256(released.read_bytes()).hexdigest()
    assert meta['layout'] == 'project'
    assert all(isinstance(value, str) for value in meta.values())


@needs_safe_types
def test_every_entry_is_accounted_for(tmp_path, capsys):
    state = {f'module.{key}': value for key, value in dense(DETECTION_PARTS).items()}
    state['module.ema_backbone_stem'] = torch.ones(1)
    state['module.backbone.head.weight'] = torch.ones(1)
    checkpoint = {
        'state_dict': state,
        'optimizer': {'state': {}},
        'meta': {'CLASSES': ('cat', 'dog'), 'PALETTE': [(1, 2, 3), (4, 5, 6)], 'epoch': 12},
        'args': argparse.Namespace(lr=0.1),
    }
    torch.save(checkpoint, tmp_path / 'in.pth')
    run(tmp_path / 'in.pth', tmp_path / 'out.pth')
    lines = capsys.readouterr().out.splitlines()
    accounted = [line for line in lines if line.split()[0] in ('renamed', 'kept', 'dropped')]
    assert len(accounted) == len(state) + 3
    assert 'kept    neck.lateral_convs.0.conv.weight  (3x2 float32)' in lines
    assert any(
        line.startswith('renamed backbone.patch_embed.0.c.weight -> backbone.stem.0.conv.weight')
        for line in lines
    )
    for key, reason in {
        'ema_backbone_stem': 'moving average',
        'backbone.head.weight': 'classifier',
        'optimizer': 'not part of the network',
        'args': 'not part of the network',
    }.items():
        assert any(line.startswith(f'dropped {key}  ({reason}') for line in lines), key
    kept = len(DETECTION_PARTS)
    renamed = len(state) - kept - 2
    total = len(state) + 3
    assert any(
        line.endswith(f'{total} entries, {renamed} renamed, {kept} kept, 5 dropped')
        for line in lines
    )
    names = load_file(str(tmp_path / 'out.pth'))['meta']['dataset_meta']
    assert names == {'classes': ('cat', 'dog'), 'palette': [(1, 2, 3), (4, 5, 6)]}


def test_absent_output_norms_are_named():
    conversion = convert(classification(), 'checkpoint')
    assert len(conversion.absent) == 20
    assert 'absent  out_norms.0.weight' in conversion.account()


def test_a_checkpoint_in_the_layout_asked_for_keeps_its_keys(released, tmp_path, capsys):
    run(released, tmp_path / 'project.pth')
    capsys.readouterr()
    run(tmp_path / 'project.pth', tmp_path / 'again.pth')
    out = capsys.readouterr().out
    assert 'was in the project layout already' in out
    assert ' 0 renamed,' in out
    first, second = (
        load_file(str(tmp_path / name))['state_dict'] for name in ('project.pth', 'again.pth')
    )
    assert_identical(second, first)


def test_a_view_does_not_bring_its_storage(tmp_path):
    state = classification()
    state['head.bias'] = torch.zeros(10_000_000)[:1000]
    torch.save(convert(state, 'checkpoint').state, tmp_path / 'out.pth')
    assert (tmp_path / 'out.pth').stat().st_size < 30e6  # the network has 24 MB


def test_unknown_keys_are_an_error_unless_they_are_to_be_kept():
    state = {**dense(DETECTION_PARTS), 'backbone.extra.weight': torch.ones(1), 'foo': torch.ones(1)}
    with pytest.raises(CheckpointError, match=r'has 2 keys .*--keep-unknown(.|\n)*extra(.|\n)*foo'):
        convert(state, 'checkpoint')
    conversion = convert(state, 'checkpoint', keep_unknown=True)
    assert {'backbone.extra.weight', 'foo'} <= set(conversion.state)


def without(key):
    state = classification()
    del state[key]
    return state


def with_another_shape():
    state = classification()
    state['network.0.2.op.A_logs'] = torch.ones(2, 2)
    return state


@pytest.mark.parametrize(
    ('make', 'arguments', 'message'),
    [
        (lambda: without('network.6.5.op.Ds'), {}, r'1 missing in the file: \S*mixer\.ss2d\.Ds'),
        (with_another_shape, {}, r'1 of another shape: .*A_logs is \(2, 2\) in the file'),
        (classification, {'arch': 'b'}, 'holds TinyViM-S, not TinyViM-B'),
        (lambda: without('network.2.0.layer_scale'), {}, 'widths of none of the architectures'),
        (lambda: {'layer1.weight': torch.ones(1)}, {}, 'holds no TinyViM or .*; .* layer1'),
        (lambda: {**classification(), 'stem.0.x': torch.ones(1)}, {}, 'mixes layouts'),
        (lambda: dense(()), {}, 'no head, .* --task'),
        (lambda: dense(('decode_head.a', 'roi_head.a')), {}, 'parts of detection and segmentation'),
    ],
)
def test_what_cannot_be_converted_is_refused(make, arguments, message):
    with pytest.raises(CheckpointError, match=message):
        convert(make(), 'checkpoint', **arguments)


def test_another_network_is_converted_by_name_alone():
    conversion = convert(with_another_shape(), 'checkpoint', arch='custom')
    assert conversion.state['backbone.stages.0.blocks.2.mixer.ss2d.A_logs'].shape == (2, 2)


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (('released.pth', 'out.txt'), r'must end in one of \.pth, \.pt, \.safetensors'),
        (('released.pth', 'absent/out.pth'), 'the folder .*absent of the output does not exist'),
        (('released.pth', 'released.pth'), r'released\.pth exists; .* --overwrite'),
        (('releasd.pth', 'out.pth'), r'does not exist .*similar files there: released\.pth'),
    ],
)
def test_wrong_paths_are_errors_that_a_user_can_cure(names, message, released, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(*(tmp_path / name for name in names))
    assert re.search(message, capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ['released.pth']


def test_a_dry_run_writes_nothing(released, tmp_path, capsys):
    run(released, tmp_path / 'out.pth', '--dry-run')
    assert 'renamed patch_embed.0.c.weight' in capsys.readouterr().out
    assert not (tmp_path / 'out.pth').exists()


def test_missing_safetensors_is_named_with_its_cure(released, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    monkeypatch.setitem(sys.modules, 'safetensors.torch', None)
    with pytest.raises(SystemExit):
        run(released, tmp_path / 'out.safetensors')
    assert 'pip install safetensors' in capsys.readouterr().err
    (tmp_path / 'in.safetensors').touch()
    with pytest.raises(CheckpointError, match='pip install safetensors'):
        load_file(str(tmp_path / 'in.safetensors'))


def test_a_damaged_safetensors_file_is_named(tmp_path):
    pytest.importorskip('safetensors')
    path = tmp_path / 'in.safetensors'
    path.write_bytes(b'no such thing')
    with pytest.raises(CheckpointError, match=r'in\.safetensors is damaged'):
        load_file(str(path))


def test_the_backbone_starts_from_a_converted_file(released, tmp_path):
    pytest.importorskip('safetensors')
    run(released, tmp_path / 'out.safetensors')
    backbone = TinyViM('s', normalize_outputs=False)
    backbone.load_pretrained(str(tmp_path / 'out.safetensors'))
    expected = golden.golden_tensor('patch_embed.0.c.weight', (24, 3, 3, 3))
    assert torch.equal(backbone.stem[0].conv.weight, torch.from_numpy(expected))
