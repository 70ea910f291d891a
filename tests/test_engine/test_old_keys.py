"""Settings of mmdet 2.x, and arguments that a backbone does not have."""

import json

import pytest

pytest.importorskip('mmengine')

from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.models.catalogue import BACKBONES
from tinyvim_mm.recipes.configs import list_configs
from tinyvim_mm.recipes.old_keys import OLD_KEYS, refuse_old_keys

OLD = {
    **{'data': {'samples_per_gpu': 2}, 'optimizer': {'type': 'SGD'}, 'total_epochs': 12},
    **{'lr_config': {'policy': 'step'}, 'runner': {'max_epochs': 12}, 'evaluation': {}},
}


@pytest.mark.parametrize('suffix', ['py', 'json', 'yml'])
def test_all_old_settings_are_listed_with_what_they_are_called_now(suffix, tmp_path):
    path = tmp_path / f'old.{suffix}'
    python = '\n'.join(f'{name} = {value!r}' for name, value in OLD.items())
    path.write_text(python if suffix == 'py' else json.dumps(OLD))
    with pytest.raises(UsageError, match='mmengine does not read these settings') as caught:
        refuse_old_keys(path)
    lines = str(caught.value).splitlines()[1:]
    assert {line.split()[0] for line in lines} == set(OLD)
    assert all(OLD_KEYS[line.split()[0]] in line for line in lines)
    assert 'samples_per_gpu is their batch_size' in str(caught.value)


def test_those_of_a_base_and_of_the_options_too(tmp_path):
    (tmp_path / 'base.py').write_text('fp16 = dict(loss_scale=512.0)\n')
    (tmp_path / 'child.py').write_text("_base_ = ['./base.py', 'mmdet::_base_/x.py']\nmodel = {}\n")
    with pytest.raises(UsageError) as caught:
        refuse_old_keys(tmp_path / 'child.py', {'data.samples_per_gpu': 4, 'optim_wrapper.x': 1})
    words = str(caught.value)
    assert "base.py) -> optim_wrapper.type='AmpOptimWrapper', or --amp" in words
    assert 'data (--cfg-options) -> train_dataloader' in words
    assert len(words.splitlines()) == 3


@pytest.mark.parametrize(
    'text',
    [
        'optimizer = dict(type="SGD")\noptim_wrapper = dict(optimizer=optimizer)\n',
        '_base_ = "./base.py"\nrandomness = dict(seed=_base_.seed)\n',
        'model = dict(data=1, runner=2)\n',
    ],
    ids=['helper', 'of a base', 'deeper'],
)
def test_names_that_are_used_are_no_settings(text, tmp_path):
    (tmp_path / 'base.py').write_text('seed = 3\n')
    (tmp_path / 'a.py').write_text(text)
    refuse_old_keys(tmp_path / 'a.py')


def test_the_projects_own_configs_have_none():
    for path in list_configs():
        refuse_old_keys(path)


@pytest.mark.parametrize('family', BACKBONES)
def test_a_backbone_says_what_it_calls_an_argument(family):
    cls = BACKBONES[family]
    with pytest.raises(TypeError) as caught:
        cls(pretrained='a.pth', frozen_stage=1, with_checkpoint=True)
    first, second, *rest = str(caught.value).splitlines()
    assert first.startswith(f"{cls.__name__} has no argument 'pretrained' (given as 'a.pth')")
    assert "init_cfg=dict(type='Pretrained', checkpoint=FILE)" in first
    assert second.endswith('did you mean frozen_stages?')
    assert 'frozen_stages, norm_eval' in rest[-1]
    assert 'unknown' not in rest[-1]
