"""Every way into the toolboxes, with this package as a clone and as a wheel: a table of rows.

The configs in ``tests/entries`` inherit from ``tinyvim_mm::`` and use ``_base_.train_pipeline``.
"""

import importlib.util
from pathlib import Path

import pytest
from installed import environment_with_package, finish

from tinyvim_mm.core.paths import PROJECT_ROOT, SAMPLES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec('mmcv') is None, reason='the toolboxes are not installed'
    ),
]
TOOLBOXES = {'det': 'mmdet', 'seg': 'mmseg', 'cls': 'mmpretrain'}
DISTRIBUTIONS = {
    'det': ('onedl-mmdetection', 'mmdet'),
    'seg': ('onedl-mmsegmentation', 'mmsegmentation'),
    'cls': ('onedl-mmpretrain', 'mmpretrain'),
}
PICTURE = SAMPLES / 'coco' / 'val2017'

#: Row, the config, and what is run. CONFIG, CHECKPOINT, TOOLS and OUT are replaced.
ROWS = {
    **{
        f'{name}-{row}': (name, words)
        for name in TOOLBOXES
        for row, words in {
            'own test': '-m tinyvim_mm test CONFIG CHECKPOINT',
            'train': 'TOOLS/train.py CONFIG --work-dir OUT',
            'test': 'TOOLS/test.py CONFIG CHECKPOINT --work-dir OUT',
            'print_config': 'TOOLS/misc/print_config.py CONFIG',
            'mim train': '-m mim train DISTRIBUTION CONFIG --gpus 0 --work-dir OUT',
            'mim test': '-m mim test DISTRIBUTION CONFIG --checkpoint CHECKPOINT --gpus 0',
        }.items()
    },
    'det-mim train by this package': (
        'det',
        '-m mim train tinyvim_mm CONFIG --gpus 0 --work-dir OUT',
    ),
    'det-get_flops': ('det', 'TOOLS/analysis_tools/get_flops.py CONFIG'),
    'seg-get_flops': ('seg', 'TOOLS/analysis_tools/get_flops.py CONFIG --shape 64 64'),
    'cls-get_flops': ('cls', 'TOOLS/analysis_tools/get_flops.py CONFIG --shape 64 64'),
    'det-browse_dataset': (
        'det',
        'TOOLS/analysis_tools/browse_dataset.py CONFIG --output-dir OUT --not-show',
    ),
    'seg-browse_dataset': (
        'seg',
        'TOOLS/analysis_tools/browse_dataset.py CONFIG --output-dir OUT --not-show',
    ),
    'cls-browse_dataset': (
        'cls',
        'TOOLS/visualization/browse_dataset.py CONFIG --output-dir OUT --phase train -n 2',
    ),
    'cls-vis_scheduler': (
        'cls',
        'TOOLS/visualization/vis_scheduler.py CONFIG --dataset-size 1000 --save-path OUT/lr.png',
    ),
}

#: Plain scripts: ``config``, ``checkpoint``, ``picture`` and ``out`` are there as text.
SCRIPTS = {
    'det-from_cfg': """
from mmengine.config import Config
from mmengine.runner import Runner
cfg = Config.fromfile(config)
cfg.work_dir = out
Runner.from_cfg(cfg).train()
""",
    'det-init_detector': """
from mmdet.apis import inference_detector, init_detector
inference_detector(init_detector(config, checkpoint, device='cpu'), picture)
""",
    'det-DetInferencer': """
from mmdet.apis import DetInferencer
DetInferencer(config, checkpoint, device='cpu')(picture, out_dir=out)
""",
    'seg-init_model': """
from mmseg.apis import inference_model, init_model
inference_model(init_model(config, checkpoint, device='cpu'), picture)
""",
    'seg-MMSegInferencer': """
from mmseg.apis import MMSegInferencer
MMSegInferencer(config, checkpoint, device='cpu', dataset_name='ade20k')(picture, out_dir=out)
""",
    'cls-ImageClassificationInferencer': """
from mmpretrain import ImageClassificationInferencer
ImageClassificationInferencer(config, checkpoint, device='cpu')(picture)
""",
    # By name: for a path, of whichever config, mmpretrain knows no inferencer.
    'cls-inference_model': """
import tinyvim_mm
tinyvim_mm.register_with_mmpretrain()
from mmpretrain import inference_model
inference_model('tinyvim_s_300e_in1k', picture, device='cpu')
""",
}


@pytest.fixture(scope='module', params=['clone', 'wheel'])
def python(request, tmp_path_factory):
    return environment_with_package(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope='module')
def checkpoints(python, tmp_path_factory):
    """Those of one training each, by this project's own tool: a row of the table, too."""
    return {name: trained(python, name, tmp_path_factory.mktemp(name)) for name in TOOLBOXES}


def trained(python, name, out):
    run(python, ['-m', 'tinyvim_mm', 'train', config(name), '--work-dir', out], out)
    return next(out.glob('*.pth'))


def config(name):
    return PROJECT_ROOT / 'tests' / 'entries' / f'{name}.py'


def run(python, words, folder):
    return finish([python, '-W', 'ignore', *words], folder, {'TINYVIM_SAMPLES': str(SAMPLES)})


@pytest.mark.parametrize('row', ROWS)
def test_a_tool_runs_the_config(row, python, checkpoints, tmp_path):
    name, command = ROWS[row]
    if 'mim' in command:
        pytest.importorskip('mim', reason='`pip install onedl-mim` or `openmim` for this row')
    from importlib import metadata

    installed = {d.metadata['Name'] for d in metadata.distributions()}
    tools = Path(importlib.util.find_spec(TOOLBOXES[name]).origin).parent / '.mim' / 'tools'
    values = {
        'CONFIG': str(config(name)),
        'CHECKPOINT': str(checkpoints[name]),
        'TOOLS': str(tools),
        'OUT': str(tmp_path),
        'DISTRIBUTION': next(d for d in DISTRIBUTIONS[name] if d in installed),
    }
    words = command.split()
    for key, value in values.items():
        words = [word.replace(key, value) for word in words]
    run(python, words, tmp_path)


@pytest.mark.parametrize('row', SCRIPTS)
def test_a_plain_script_uses_the_config(row, python, checkpoints, tmp_path):
    name = row.partition('-')[0]
    given = {
        'config': str(config(name)),
        'checkpoint': str(checkpoints[name]),
        'picture': str(sorted(PICTURE.iterdir())[0]),
        'out': str(tmp_path),
    }
    script = tmp_path / 'script.py'
    script.write_text(''.join(f'{k} = {v!r}\n' for k, v in given.items()) + SCRIPTS[row])
    run(python, [script], tmp_path)
