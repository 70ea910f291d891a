"""The trained models that are a part of this package, on photographs that come along."""

import json

import numpy as np
import pytest
from PIL import Image

from tinyvim_mm.commands import demo
from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.recipes.model_folder import TRAINED, trained_models

SAMPLE = PROJECT_ROOT / 'data' / 'sample'
STREET = SAMPLE / 'coco' / 'val2017' / '000000184324.jpg'


def run(out, *argv):
    demo.main([*map(str, argv), '--out', str(out)])
    return json.loads((out / 'predictions.json').read_text())


def test_each_has_a_card_and_is_small():
    assert trained_models() == ['camvid', 'imagenette']
    for name in trained_models():
        card = (TRAINED / name / 'README.md').read_text(encoding='utf-8')
        for words in ('trained on', 'scored on', '**It can**', '**It cannot**', f'test {name}`'):
            assert words in ' '.join(card.split()), (name, words)
        assert (TRAINED / name / 'weights.safetensors').stat().st_size < 8e6
        # Nothing of the machine that it was trained on.
        assert '/work' not in (TRAINED / name / 'config.py').read_text(encoding='utf-8')


def test_a_street_has_the_sky_above_and_the_road_below(tmp_path):
    pytest.importorskip('mmseg')
    found = run(tmp_path, STREET, '--model', 'camvid')
    classes = found['classes']
    labels = np.asarray(Image.open(tmp_path / 'label_maps' / f'{STREET.name}.png'))
    height, width = labels.shape
    top = labels[: height // 10, 2 * width // 5 : 3 * width // 5]
    bottom = labels[9 * height // 10 :, width // 3 : 2 * width // 3]
    assert (top == classes.index('sky')).mean() > 0.9
    ground = [classes.index(name) for name in ('road', 'pavement')]
    assert np.isin(bottom, ground).mean() > 0.7
    assert found['predictions'][0]['shares']['building'] > 0.1


def test_a_dog_is_the_dog_of_the_ten_things(tmp_path):
    pytest.importorskip('mmpretrain')
    picture = SAMPLE / 'imagenet' / 'val' / 'dog' / '000000404484_7981.jpg'
    (entry,) = run(tmp_path, picture, '--model', 'imagenette')['predictions']
    assert entry['top'][0]['class'] == 'English springer'
    assert entry['top'][0]['score'] > 0.7
