"""``--detect-anomaly`` against anomalies that were planted."""

import types

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from tool_runs import forget_runs, run_sample
from torch import nn

from tinyvim_mm.commands import train
from tinyvim_mm.training.anomaly import AnomalyError, AnomalyHook, describe


class Planted(torch.autograd.Function):
    """The identity, whose result or gradient is replaced."""

    @staticmethod
    def forward(ctx, x, output, gradient):
        ctx.gradient = gradient
        return x * output

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.gradient, None, None


class Layer(nn.Linear):
    output = gradient = 1.0

    def forward(self, x):
        return Planted.apply(super().forward(x), self.output, self.gradient)


class Network(BaseModel):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(Layer(4, 4), nn.ReLU(inplace=True), Layer(4, 4))
        self.head = Layer(4, 2)
        self.loss_factor = 1.0

    def forward(self, inputs, data_samples, mode='loss'):
        return {'loss_a': self.head(self.body(inputs)).square().mean() * self.loss_factor}


@pytest.fixture
def train_two(tmp_path):
    """Train an iteration, plant an anomaly, train the next."""
    forget_runs()

    def run(plant, first=None):
        model = Network()
        samples = [types.SimpleNamespace(img_path=f'photo_{i}.jpg') for i in range(2)]
        inputs = [torch.ones(2, 4) if first is None else first, torch.ones(2, 4)]
        batches = [{'inputs': each, 'data_samples': samples} for each in inputs]

        class Plant(AnomalyHook):
            def before_train_iter(self, runner, batch_idx, data_batch=None):
                super().before_train_iter(runner, batch_idx, data_batch)
                if batch_idx == 1:
                    plant(model)

        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        runner = Runner(
            model,
            str(tmp_path),
            train_dataloader=torch.utils.data.DataLoader(
                batches, collate_fn=lambda batch: batch[0]
            ),
            train_cfg={'by_epoch': True, 'max_epochs': 1},
            optim_wrapper=OptimWrapper(optimizer=optimizer),
            experiment_name='planted',
            log_level='ERROR',
        )
        runner.register_hook(Plant())
        runner.train()
        return runner

    yield run
    forget_runs()


def test_nothing_is_said_of_a_sound_run_and_the_hooks_go(train_two):
    model = train_two(lambda model: None).model
    assert not any(module._forward_hooks for module in model.modules())


def test_the_first_layer_whose_output_is_not_finite_is_named(train_two):
    def plant(model):
        model.body[2].output = float('nan')

    with pytest.raises(AnomalyError) as caught:
        train_two(plant)
    lines = str(caught.value).split('\n  ')
    assert lines[0].startswith(
        'epoch 1, iteration 2: the output of body.2 (Layer) is not finite: float32 (2, 4), '
        '8 NaN and 0 infinite of 8'
    )
    assert lines[1].startswith('input: float32 (2, 4), finite from ')
    assert lines[2].startswith('It made this of finite input and finite weights')
    assert lines[3] == 'pictures of the batch: photo_0.jpg, photo_1.jpg'


def test_a_damaged_weight_is_named(train_two):
    def plant(model):
        model.body[0].weight.data[1, 2] = float('inf')

    message = 'not finite in it: weight: float32 \\(4, 4\\), 0 NaN and 1 infinite of 16'
    with pytest.raises(AnomalyError, match=message):
        train_two(plant)


def test_data_that_are_not_finite_are_told_from_layers(train_two):
    with pytest.raises(
        AnomalyError, match='iteration 1: the output of data_preprocessor'
    ) as caught:
        train_two(lambda model: None, first=torch.full((2, 4), float('inf')))
    assert 'Its input was not finite already' in str(caught.value)


def test_a_loss_computed_outside_of_layers_is_named(train_two):
    def plant(model):
        model.loss_factor = float('nan')

    with pytest.raises(AnomalyError, match=r"the output of the model \(Network\), \['loss_a'\]"):
        train_two(plant)


def plant_gradient(model):
    model.body[2].gradient = float('inf')


def test_the_first_gradient_that_is_not_finite_is_named(train_two):
    # Seen at the parameters of the layer whose result hands it on.
    with pytest.raises(AnomalyError, match=r'the gradient of parameter body\.2\.') as caught:
        train_two(plant_gradient)
    assert 'the last finite one before it, backwards from the loss: the output of body' in str(
        caught.value
    )


def test_gradients_under_a_loss_scaler_are_logged_and_do_not_stop(train_two, monkeypatch):
    scaler = types.SimpleNamespace(is_enabled=lambda: True, get_scale=lambda: 65536.0)
    logged = []
    monkeypatch.setattr(OptimWrapper, 'loss_scaler', scaler, raising=False)
    monkeypatch.setattr(
        'mmengine.logging.MMLogger.warning', lambda self, message, *rest: logged.append(message)
    )
    train_two(plant_gradient)
    (message,) = [text for text in logged if 'gradient' in text]
    assert message.count('the gradient of') == 1
    assert 'loss scale: 65536; the scaler skips this step' in message


def test_description_of_a_tensor():
    tensor = torch.tensor([[1.0, -3.0], [float('nan'), float('inf')]])
    assert describe(tensor) == (
        'float32 (2, 2), 1 NaN and 1 infinite of 4, the others from -3 to 1, mean magnitude 2'
    )
    assert describe(torch.tensor([float('nan')])) == 'float32 (1,), 1 NaN and 0 infinite of 1'


def test_the_tool_names_the_layer(tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmpretrain.models')
    monkeypatch.chdir(tmp_path)
    from tinyvim_mm.models.layers import SS2D

    forward = SS2D.forward
    monkeypatch.setattr(SS2D, 'forward', lambda self, x: forward(self, x) / 0)
    options = [
        'train_dataloader.dataset.pipeline.1.scale=64',
        'train_dataloader.dataset.indices=4',
        'train_dataloader.batch_size=2',
        'optim_wrapper.type=OptimWrapper',  # float32 on every machine
    ]
    with pytest.raises(SystemExit):
        run_sample(train.main, 'tinyvim_s_300e_in1k', '--detect-anomaly', options=options)
    forget_runs()
    error = capsys.readouterr().err
    place = 'backbone.stages.0.blocks.2.mixer.ss2d (SS2D)'
    assert f'epoch 1, iteration 1: the output of {place} is not finite: float32 (2, ' in error
    assert 'pictures of the batch: ' in error
