"""A training that is resumed again and again, and one whose clock is set back."""

import json
import os
import time

import pytest

pytest.importorskip('mmengine')

from small_training import STEPS, Stop, train
from tool_runs import forget_runs

from tinyvim_mm.records.scalars import read_runs, read_training
from tinyvim_mm.reliability.resume import compare
from tinyvim_mm.training.work_dir import writing_into

#: ``RESUMES=1000 pytest tests/test_engine/test_resumes.py`` for more.
RESUMES = int(os.environ.get('RESUMES', '100'))


def resume(folder, epochs, until):
    with writing_into(folder, lock=True):
        train(folder, epochs=epochs, until=until)


def same(folder, epochs):
    """Whether the last checkpoint is that of a training in one go, and no step is lost."""
    resume(folder / 'whole', epochs, epochs)
    name = f'epoch_{epochs}.pth'
    tensors, where = compare(folder / 'whole' / name, folder / 'parts' / name)
    steps = [record['step'] for record in read_training(folder / 'parts')]
    return tensors > 30 and where == [] and steps == list(range(1, epochs * STEPS + 1))


@pytest.mark.slow
def test_many_resumes(tmp_path):
    """One epoch each; nothing differs from a training in one go, and nothing piles up."""
    parts = tmp_path / 'parts'
    for until in range(1, RESUMES + 1):
        resume(parts, RESUMES, until)
    assert same(tmp_path, RESUMES)
    assert len(read_runs(parts)) == RESUMES
    others = [path.name for path in parts.iterdir() if not path.name.startswith('20')]
    assert sorted(others) == [f'epoch_{RESUMES}.pth', 'last_checkpoint']
    forget_runs()


def test_a_clock_that_is_set_back(tmp_path, monkeypatch):
    now = time.time
    setback = [0.0]
    monkeypatch.setattr(time, 'time', lambda: now() - setback[0])

    def step_back(runner):
        setback[0] += 3600

    parts = tmp_path / 'parts'
    for until in (1, 2, 4):
        with writing_into(parts, lock=True):
            train(parts, [Stop(step_back)], epochs=4, until=until)
    assert same(tmp_path, 4)
    folders = list(read_runs(parts))
    assert folders == sorted(folders)
    lines = (folders[-1] / 'vis_data' / 'scalars.json').read_text().splitlines()
    assert all('loss' in json.loads(line) for line in lines)
    forget_runs()
