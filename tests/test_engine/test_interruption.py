"""Ctrl-C and SIGTERM in a training, and going on after it."""

import signal
from pathlib import Path

import pytest

pytest.importorskip('mmengine')

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from toy_training import EPOCHS, STEPS, in_a_process

from tinyvim_mm.core.errors import INTERRUPTED, TERMINATED
from tinyvim_mm.reliability.resume import compare
from tinyvim_mm.training import interruption
from tinyvim_mm.training.epochs import ResumableEpochLoop, resumable
from tinyvim_mm.training.going_on import resuming
from tinyvim_mm.training.interruption import FILE
from tinyvim_mm.weights.files import load_file

INT, TERM = signal.SIGINT, signal.SIGTERM
#: Name of the last checkpoint of each kind of training.
LAST = {True: f'epoch_{EPOCHS}.pth', False: f'iter_{EPOCHS * STEPS}.pth'}


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    """Work dirs of trainings that nothing interrupts, by their settings."""
    found = {}

    def work_dir(**settings):
        key = tuple(settings.items())
        if key not in found:
            found[key] = tmp_path_factory.mktemp('undisturbed')
            assert in_a_process(found[key] / 'errors', found[key], **settings) == 0
        return found[key]

    return work_dir


def best(folder):
    return [path.name for path in folder.glob('best_*.pth')]


@pytest.mark.parametrize(
    ('send', 'settings', 'where'),
    [
        (('step', 6, TERM), {}, 'epoch 2, step 2 of 4'),
        (('step', 6, INT), dict(workers=2), 'epoch 2, step 2 of 4'),
        (('step', 8, INT), {}, 'epoch 2 of 3, before its validation'),
        (('validation', 4, TERM), {}, 'epoch 1 of 3, in its validation'),
        (('step', 6, INT), dict(by_epoch=False), 'iteration 6 of 12'),
        (('step', 8, INT), dict(by_epoch=False), 'iteration 8 of 12, before its validation'),
    ],
    ids=['middle', 'workers', 'end', 'validation', 'iterations', 'iterations-validation'],
)
def test_an_interrupted_training_ends_like_one_that_was_not(
    send, settings, where, undisturbed, tmp_path
):
    errors = tmp_path / 'errors'
    code = in_a_process(errors, tmp_path, send, **settings)
    assert code == (INTERRUPTED if send[-1] == INT else TERMINATED), errors.read_text()
    asked, stopped, how = errors.read_text().strip().splitlines()
    assert asked.startswith('stopping after this step')
    assert stopped.startswith(f'stopped after {where}; saved ')
    assert stopped.endswith(FILE)
    assert how == 'go on with: python tools/train.py c --resume'
    assert in_a_process(errors, tmp_path, **settings) == 0, errors.read_text()
    whole, last = undisturbed(**settings), LAST[settings.get('by_epoch', True)]
    tensors, places = compare(whole / last, tmp_path / last)
    assert tensors > 30
    assert places == []
    assert best(tmp_path) == best(whole)
    assert not (tmp_path / FILE).exists()


@pytest.mark.slow
def test_again_and_again(undisturbed, tmp_path):
    errors = tmp_path / 'errors'
    for step in (1, 2, 3, 5, 8, 9, 11):
        assert in_a_process(errors, tmp_path, ('step', step, INT)) == INTERRUPTED
    assert in_a_process(errors, tmp_path) == 0
    assert compare(undisturbed() / LAST[True], tmp_path / LAST[True])[1] == []


def test_the_second_signal_ends_at_once(tmp_path):
    errors = tmp_path / 'errors'
    assert in_a_process(errors, tmp_path, ('step', 6, INT, INT)) == INTERRUPTED
    assert errors.read_text().strip().splitlines()[-1].startswith('ended at once')
    assert not (tmp_path / FILE).exists()


def test_accumulated_gradients_are_not_lost(tmp_path):
    errors = tmp_path / 'errors'
    settings = dict(wrapper=dict(accumulative_counts=2))
    assert in_a_process(errors, tmp_path, ('step', 5, INT), **settings) == INTERRUPTED
    assert 'stopped after epoch 2, step 2 of 4' in errors.read_text()


def test_gradients_that_are_accumulated_beyond_an_epoch_are_not_lost(tmp_path):
    errors, undisturbed = tmp_path / 'errors', tmp_path / 'undisturbed'
    settings = dict(wrapper=dict(accumulative_counts=3))
    assert in_a_process(errors, tmp_path, ('step', 4, INT), **settings) == INTERRUPTED
    assert 'stopped after epoch 2, step 2 of 4' in errors.read_text()
    assert in_a_process(errors, tmp_path, **settings) == 0, errors.read_text()
    assert in_a_process(errors, undisturbed, **settings) == 0, errors.read_text()
    assert compare(undisturbed / LAST[True], tmp_path / LAST[True])[1] == []


def test_what_cannot_be_saved_is_said(tmp_path):
    errors = tmp_path / 'errors'
    (tmp_path / f'{FILE}').mkdir()  # in the way
    assert in_a_process(errors, tmp_path, ('step', 10, TERM)) == TERMINATED
    assert 'nothing was saved, the last checkpoint is epoch_2.pth: ' in errors.read_text()
    assert Path((tmp_path / 'last_checkpoint').read_text()).name == 'epoch_2.pth'


def test_after_the_last_step_the_checkpoint_is_whole(tmp_path):
    errors = tmp_path / 'errors'
    send = ('step', EPOCHS * STEPS, INT)
    assert in_a_process(errors, tmp_path, send, loop=dict(val_begin=9)) == INTERRUPTED
    assert 'the training had come to its end' in errors.read_text()
    assert load_file(str(tmp_path / LAST[True]))['meta']['epoch'] == EPOCHS


@pytest.mark.parametrize(
    ('command', 'expected'),
    [
        ('tinyvim-mm train c', 'tinyvim-mm train c --resume'),
        ("train 'a b.py' --resume", "train 'a b.py' --resume"),
        ('train c --resume x.pth --amp', 'train c --amp --resume'),
        ('train c --resume=x.pth', 'train c --resume'),
        ('train c --launcher pytorch', 'the same command and --resume'),
    ],
)
def test_the_command_that_goes_on(command, expected):
    assert resuming(command) == expected


def test_a_signal_while_processes_talk_is_not_lost(monkeypatch):
    """It comes after this one has said that it got none, and counts in the next step."""
    hook = interruption.InterruptionHook()
    hook._begun = True
    monkeypatch.setattr(interruption, 'get_world_size', lambda: 2)
    monkeypatch.setattr(interruption, '_say', lambda text: None)

    def interrupted(number, operation):
        if not hook._received:
            hook._receive(signal.SIGTERM, None)

    monkeypatch.setattr(interruption, 'all_reduce', interrupted)
    assert not hook._agreed()
    assert hook._agreed()
    assert hook._signal == signal.SIGTERM


def test_a_signal_that_the_launcher_hands_on_is_no_second_one(monkeypatch):
    """Slurm and systemd send it to all processes, and torchrun sends it to its own once more."""
    ended, now = [], [100.0]
    monkeypatch.setattr(interruption, 'get_world_size', lambda: 2)
    monkeypatch.setattr(interruption, '_say', lambda text: None)
    monkeypatch.setattr(interruption.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(interruption.os, '_exit', ended.append)
    monkeypatch.setattr(interruption.signal, 'signal', lambda number, handler: None)
    hook = interruption.InterruptionHook()
    hook._begun = True
    hook._receive(TERM, None)
    hook._receive(TERM, None)
    assert ended == []
    now[0] += 60
    hook._receive(TERM, None)
    assert ended == [TERMINATED]


@pytest.mark.parametrize(
    'loop',
    [dict(by_epoch=True), dict(type='EpochBasedTrainLoop'), dict(type=EpochBasedTrainLoop)],
)
def test_each_way_to_name_the_loop_of_epochs(loop):
    assert resumable(dict(loop, max_epochs=3)) == dict(type=ResumableEpochLoop, max_epochs=3)


@pytest.mark.parametrize(
    'loop',
    [
        dict(by_epoch=False),
        dict(type='IterBasedTrainLoop'),
        dict(type='IterBasedTrainLoop', by_epoch=True),  # mmengine refuses both
        dict(type=IterBasedTrainLoop),
    ],
)
def test_other_loops_stay_as_they_are(loop):
    assert resumable(loop) == loop
