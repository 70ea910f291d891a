"""The public names: light to import, real once used, and honest where a package is missing."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from torch import nn

import tinyvim_mm
from tinyvim_mm.core.environment import MissingPackageError

CLASSES = (
    *('TinyViM', 'MobileMamba', 'EfficientVMamba', 'VMamba', 'LaplaceMixer', 'SS2D'),
    *('UpsamplingFPN', 'DistillationClassifier', 'NormClassifier', 'CUDAGraphs'),
)
#: Classes that derive from a toolbox's.
OF_TOOLBOXES = {
    'DistilledClassifier': 'mmpretrain.models.ImageClassifier',
    'DistillationHead': 'mmpretrain.models.ClsHead',
    'NormHead': 'mmpretrain.models.ClsHead',
    'SSDHead': 'mmdet.models.SSDHead',
}
DATASETS = {
    'Imagenette': 'mmpretrain.datasets.ImageNet',
    'CamVid': 'mmseg.datasets.BaseSegDataset',
    'IoUPerClass': 'mmseg.evaluation.IoUMetric',
}
FUNCTIONS = (
    *('ss2d', 'selective_scan', 'scan_skipping', 'reparameterize'),
    *('get_config', 'list_models', 'register_with_mmpretrain'),
)
#: Of mmengine's training.
OF_MMENGINE = ('CPUAmpOptimWrapper', 'RecipeOptimWrapperConstructor')
REGISTERED = (
    *('TinyViM', 'MobileMamba', 'EfficientVMamba', 'VMamba', 'UpsamplingFPN', 'NormClassifier'),
    *('DistillationClassifier', *OF_TOOLBOXES),
)


def run(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)


def toolbox_class(name):
    package, *path = {**OF_TOOLBOXES, **DATASETS}[name].split('.')
    if find_spec(package) is None:
        pytest.skip(f'{package} is not installed')
    module = pytest.importorskip('.'.join([package, *path[:-1]]))
    return getattr(module, path[-1])


def test_importing_and_listing_loads_no_torch():
    code = (
        'import sys, tinyvim_mm; dir(tinyvim_mm); tinyvim_mm.__all__; tinyvim_mm.__version__\n'
        'import tinyvim_mm.models.catalogue\n'
        "print([m for m in ('torch', 'mmengine', 'mmcv', 'timm', 'numpy') if m in sys.modules])"
    )
    assert run(code).stdout.strip() == '[]'


def test_the_list_is_complete():
    names = {*CLASSES, *OF_TOOLBOXES, *DATASETS, *FUNCTIONS, *OF_MMENGINE}
    assert set(tinyvim_mm.__all__) == set(dir(tinyvim_mm)) == names
    assert Path(tinyvim_mm.__file__).with_name('py.typed').is_file()
    with pytest.raises(AttributeError, match="module 'tinyvim_mm' has no attribute 'TinyVim'"):
        _ = tinyvim_mm.TinyVim


def test_type_checkers_see_the_same_names():
    folder, seen = Path(tinyvim_mm.__file__).parent, set()
    for path in (folder / '__init__.py', folder / 'models' / 'catalogue.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING':
                names = [n for line in node.body for n in line.names]
                seen |= {n.asname for n in names if n.asname == n.name}
    assert seen == set(tinyvim_mm.__all__)


@pytest.mark.parametrize('name', CLASSES)
def test_classes_are_classes(name):
    cls = getattr(tinyvim_mm, name)
    assert issubclass(cls, nn.Module)
    assert cls.__name__ == name
    assert getattr(tinyvim_mm.models, name) is cls


@pytest.mark.parametrize('name', FUNCTIONS)
def test_functions_are_functions(name):
    assert callable(getattr(tinyvim_mm, name))
    assert getattr(tinyvim_mm, name).__name__ == name


@pytest.mark.parametrize('name', OF_TOOLBOXES)
def test_classes_of_toolboxes_are_theirs(name):
    base = toolbox_class(name)
    assert issubclass(getattr(tinyvim_mm, name), base)


@pytest.mark.parametrize('name', REGISTERED)
@pytest.mark.parametrize('scope', ['mmengine', 'mmdet', 'mmpretrain'])
def test_the_registered_name_means_the_class(name, scope):
    from mmengine.registry import MODELS, DefaultScope

    if name in OF_TOOLBOXES:
        toolbox_class(name)
    with DefaultScope.overwrite_default_scope(scope):
        assert MODELS.get(f'tinyvim_mm.{name}') is getattr(tinyvim_mm, name)


@pytest.mark.parametrize('name', DATASETS)
def test_the_registered_name_means_the_dataset(name):
    from mmengine.registry import DATASETS as REGISTRY

    assert issubclass(getattr(tinyvim_mm, name), toolbox_class(name))
    assert REGISTRY.get(f'tinyvim_mm.{name}') is getattr(tinyvim_mm, name)


MISSING = """
import sys
sys.modules['{package}'] = None
import tinyvim_mm
from mmengine.registry import MODELS
for name in {names}:
    for use in (lambda: getattr(tinyvim_mm, name), lambda: MODELS.get('tinyvim_mm.' + name)):
        try:
            use()
        except tinyvim_mm.core.environment.MissingPackageError as error:
            print(error, end='\\0')
"""


@pytest.mark.parametrize('package', ['mmdet', 'mmpretrain'])
def test_a_missing_toolbox_is_named_with_its_cure(package):
    names = [name for name, base in OF_TOOLBOXES.items() if base.startswith(package)]
    result = run(MISSING.format(package=package, names=names))
    messages = result.stdout.split('\0')[:-1]
    assert len(messages) == 2 * len(names), result.stderr
    for message, name in zip(messages, [name for name in names for _ in range(2)], strict=True):
        assert message.startswith(f'tinyvim_mm.{name} needs packages that are not usable here:\n')
        assert f'{package}: not installed\n    cure: pip install' in message
    assert issubclass(MissingPackageError, ImportError)


def test_backbones_are_built_without_any_toolbox():
    code = (
        'import sys\n'
        "for name in ('mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm'): sys.modules[name] = None\n"
        'from mmengine.registry import MODELS\n'
        "print(type(MODELS.build(dict(type='tinyvim_mm.TinyViM', arch='s'))).__name__)"
    )
    assert run(code).stdout.strip() == 'TinyViM'


LAZY = """
from mmengine.config import read_base
from tinyvim_mm import DistilledClassifier, DistillationHead, TinyViM

model = dict(
    type=DistilledClassifier,
    backbone=dict(type=TinyViM, arch='s', out_indices=(3,), normalize_outputs=False),
    head=dict(type=DistillationHead, in_channels=224, num_classes=4),
)
"""


def test_configs_name_the_classes_themselves(tmp_path):
    toolbox_class('DistilledClassifier')
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope

    path = tmp_path / 'lazy.py'
    path.write_text(LAZY)
    cfg = Config.fromfile(path, lazy_import=True)
    init_default_scope('mmpretrain')
    for config in (cfg, Config.fromstring(cfg.pretty_text, '.py')):
        model = MODELS.build(config.model)
        assert type(model) is tinyvim_mm.DistilledClassifier
        assert isinstance(model.backbone, tinyvim_mm.TinyViM)
        assert isinstance(model.head, tinyvim_mm.DistillationHead)
