"""Heads that leave outputs of a backbone unused, in trainings of two processes and of one."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from torch import distributed, nn

from tinyvim_mm.core import environment
from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.models import TinyViM
from tinyvim_mm.models.backbones.joined_outputs import join_outputs
from tinyvim_mm.models.catalogue import BACKBONES

SCRIPT = PROJECT_ROOT / 'tests' / 'two_processes.py'
TINY = {'embed_dims': [16, 24, 32, 40], 'depths': [1] * 4}


def run_two(folder, toolbox):
    """What each of two processes writes."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    shared = dict(WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    shared.update(OMP_NUM_THREADS='1', PYTHONPATH=str(PROJECT_ROOT))
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), toolbox, *BACKBONES],
            env={**os.environ, **shared, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    words = [process.communicate()[1] for process in processes]
    for process, text in zip(processes, words, strict=True):
        assert process.returncode == 0, text[-3000:]
    return [json.loads((folder / f'{rank}.json').read_text()) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.skipif(
    environment.accelerator() is not None, reason='two processes would need two accelerators'
)
@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg', 'mmpretrain'])
def test_two_processes_train_with_unused_outputs(toolbox, tmp_path):
    pytest.importorskip(toolbox)
    first, second = run_two(tmp_path, toolbox)
    assert len(first) >= len(BACKBONES)
    for name, found in first.items():
        assert found['loss'] != second[name]['loss'], 'each has its own images'
        assert found['sum'] == second[name]['sum'], name
        # The norms that the head leaves out, and nothing else. Of a scan of one position the
        # state matrix makes no difference.
        still = [key for key in found['still'] if not key.endswith('A_logs')]
        assert still, name
        assert all(key.startswith('out_norms.') for key in still), (name, still)
        assert any(key.startswith('out_norms.') for key in found['moved']), name


@pytest.fixture
def connected(tmp_path):
    """This process as the only one of a training."""
    distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path / "store"}', rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


def gradients(model, x, used):
    model.zero_grad()
    sum(model(x)[i].pow(2).mean() for i in used).backward()
    # Below an unused map some layers hand on nothing, others zeros.
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


@pytest.mark.parametrize('used', [(3,), (1, 2), (0, 1, 2, 3)])
def test_joining_changes_no_value_and_no_gradient(used, connected, monkeypatch):
    model, x = TinyViM(TINY, norm_eval=True).train(), torch.randn(2, 3, 64, 64)
    outputs, joined = model(x), gradients(model, x, used)
    assert len({type(out.grad_fn).__name__ for out in outputs}) == 1
    monkeypatch.setattr(distributed, 'is_initialized', lambda: False)
    for out, plain in zip(outputs, model(x), strict=True):
        assert torch.equal(out, plain)
    for name, value in gradients(model, x, used).items():
        assert torch.equal(joined[name], value), name


@pytest.mark.usefixtures('connected')
def test_any_output_reaches_every_parameter():
    model = nn.parallel.DistributedDataParallel(TinyViM(TINY).train())
    for used in (0, 3, 2):  # DistributedDataParallel complains in the step after the one at fault
        model(torch.randn(2, 3, 64, 64))[used].mean().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.usefixtures('connected')
def test_a_joined_output_can_be_changed_in_place():
    outputs = TinyViM(TINY).train()(torch.randn(2, 3, 64, 64))
    sum(torch.relu_(out).sum() for out in outputs).backward()


@pytest.mark.usefixtures('connected')
def test_maps_of_frozen_stages_stay_without_gradient():
    model = TinyViM(TINY, frozen_stages=2, normalize_outputs=False).train()
    outputs = model(torch.randn(2, 3, 64, 64))
    assert [out.requires_grad for out in outputs] == [False] * 2 + [True] * 2
    with torch.no_grad():
        assert not any(out.requires_grad for out in model(torch.randn(2, 3, 64, 64)))


def test_one_process_gets_its_outputs_as_they_are():
    maps = [torch.randn(1, 2, 3, 3, requires_grad=True) * 1 for _ in range(2)]
    assert all(a is b for a, b in zip(join_outputs(maps), maps, strict=True))


@pytest.mark.usefixtures('connected')
def test_exports_and_compiled_graphs_hold_no_trace_of_it():
    model, x = TinyViM(TINY).eval(), torch.randn(1, 3, 64, 64)
    program = torch.export.export(model, (x,))
    assert 'Join' not in str(program.graph)
    traced = torch.jit.trace(model, x, check_trace=False)
    assert 'Join' not in str(traced.inlined_graph)
    seen = []

    def backend(graph, _):
        seen.append(str(graph.graph))
        return graph.forward

    torch.compile(model, backend=backend, fullgraph=True)(x)
    assert seen
    assert not any('autograd_function' in graph.lower() for graph in seen)
