"""``tinyvim-mm test CONFIG FILE.onnx``: scores of exported files are those of the checkpoint."""

import pytest
import torch
from benchmark_data import write_configs, write_data
from mmengine.registry import MODELS, init_default_scope

from tinyvim_mm.commands import test as command
from tinyvim_mm.core.errors import UsageError
from tinyvim_mm.export import export
from tinyvim_mm.inference import evaluate_exported
from tinyvim_mm.recipes.configs import load_config
from tinyvim_mm.training import evaluate

pytest.importorskip('onnxruntime')
pytest.importorskip('mmseg')
pytest.importorskip('mmpretrain')
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_configs(folder)
    return write_data(folder)


def checkpoint_of(config, folder):
    """Weights of which different pictures get different classes."""
    cfg = load_config(config)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    file = folder / 'weights.pth'
    torch.save({'state_dict': model.state_dict()}, file)
    return file


@pytest.mark.parametrize(
    ('name', 'settings'),
    [('classes', {'input_size': (128, 128)}), ('streets', {'dynamic_size': True})],
)
def test_scores_are_those_of_the_checkpoint(name, settings, root, tmp_path, monkeypatch):
    config, data = root / f'{name}.py', dict(data_root=str(root))
    weights = checkpoint_of(config, tmp_path)
    file = export(
        config, tmp_path / 'x.onnx', checkpoint=weights, output='logits', rounds=0, **settings
    )
    expected = evaluate(config, weights, tmp_path / 'checkpoint', **data)
    found = evaluate_exported(config, file, tmp_path / 'file', **data)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=0.2, nan_ok=True), key
    # Other weights score otherwise: the file is what was scored.
    other = export(config, tmp_path / 'y.onnx', output='logits', rounds=0, **settings)
    assert evaluate_exported(config, other, tmp_path / 'file', **data) != found


def test_the_command_takes_both(root, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr('tinyvim_mm.training.evaluate', lambda *a, **_: called.append(a))
    monkeypatch.setattr('tinyvim_mm.inference.evaluate_exported', lambda *a, **_: called.append(a))
    command.main(['a', 'b.onnx'])
    command.main(['a', 'b.pth'])
    assert called == [('a', 'b.onnx'), ('a', 'b.pth')]


def test_what_has_no_scores_is_refused(root, tmp_path, capsys):
    config = root / 'streets.py'
    labels = export(config, tmp_path / 'x.onnx', input_size=(64, 64), rounds=0)
    with pytest.raises(UsageError, match=r'gives labels; .* --output logits'):
        evaluate_exported(config, labels, tmp_path)
    with pytest.raises(SystemExit):
        command.main([str(config), str(labels), '--deploy'])
    assert '--deploy does not apply to an exported file' in capsys.readouterr().err
