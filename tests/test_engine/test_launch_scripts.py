"""The shell scripts that start the tools on several GPUs, with stand-ins for python and srun."""

import os
import shutil
import subprocess

import pytest

from tinyvim_mm.core.paths import PROJECT_ROOT

TOOLS = PROJECT_ROOT / 'tools'
USES = {
    'dist_train.sh': ['c.py', '8', '--amp'],
    'dist_test.sh': ['c.py', 'x.pth', '8', '--out', 'o.pkl'],
    'slurm_train.sh': ['gpu', 'job', 'c.py', 'work', '--amp'],
    'slurm_test.sh': ['gpu', 'job', 'c.py', 'x.pth', '--out', 'o.pkl'],
}
all_scripts = pytest.mark.parametrize('script', USES)


@pytest.fixture
def stubs(tmp_path):
    """A folder whose commands print their arguments, one a line, and the port."""
    for name in ('srun', 'python'):
        stub = tmp_path / name
        stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "port ${MASTER_PORT:-none}"\n')
        stub.chmod(0o755)
    return tmp_path


def call(script, *arguments, path='', **variables):
    kept = {'PATH': f'{path}:{os.environ["PATH"]}' if path else os.environ['PATH']}
    return subprocess.run(
        [shutil.which('bash'), str(TOOLS / script), *arguments],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def called(script, *arguments, path, **variables):
    done = call(script, *arguments, path=path, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ('script', 'expected'),
    [
        ('dist_train.sh', ['train.py', 'c.py', '--amp', '--launcher', 'pytorch']),
        ('dist_test.sh', ['test.py', 'c.py', 'x.pth', '--out', 'o.pkl', '--launcher', 'pytorch']),
    ],
)
def test_torchrun_on_one_of_several_machines(script, expected, stubs):
    machines = {'NNODES': '2', 'NODE_RANK': '1', 'MASTER_ADDR': 'host', 'PORT': '123'}
    found = called(script, *USES[script], path=stubs, **machines)
    assert found[:7] == [
        *('-m', 'tinyvim_mm.training.launching'),
        *('--nnodes=2', '--node_rank=1', '--master_addr=host', '--master_port=123'),
        '--nproc_per_node=8',
    ]
    assert found[7:-1] == [f'{TOOLS}/{expected[0]}', *expected[1:]]


def test_torchrun_on_this_machine_alone(stubs):
    found = called('dist_train.sh', *USES['dist_train.sh'], path=stubs)
    assert found[2:6] == [
        *('--nnodes=1', '--node_rank=0', '--master_addr=127.0.0.1', '--master_port=29500')
    ]


@pytest.mark.parametrize(
    ('script', 'expected'),
    [
        ('slurm_train.sh', ['train.py', 'c.py', '--work-dir', 'work', '--amp']),
        ('slurm_test.sh', ['test.py', 'c.py', 'x.pth', '--out', 'o.pkl']),
    ],
)
def test_srun_starts_a_process_for_each_gpu(script, expected, stubs):
    variables = {'GPUS': '16', 'PORT': '123', 'SRUN_ARGS': '--time=1:00:00 --exclusive'}
    assert called(script, *USES[script], path=stubs, **variables) == [
        *('--partition=gpu', '--job-name=job', '--gres=gpu:8', '--ntasks=16'),
        *('--ntasks-per-node=8', '--cpus-per-task=5', '--kill-on-bad-exit=1'),
        *('--time=1:00:00', '--exclusive'),
        *('python', '-u', f'{TOOLS}/{expected[0]}', *expected[1:], '--launcher', 'slurm'),
        'port 123',
    ]


def test_few_gpus_lie_in_one_node(stubs):
    found = called('slurm_train.sh', *USES['slurm_train.sh'], path=stubs, GPUS='2')
    assert found[2:5] == ['--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2']
    assert found[-1] == 'port 29500'


@pytest.mark.parametrize(
    ('variables', 'words'),
    [
        ({'GPUS': 'many'}, "number of GPUs on all nodes together, not 'many'"),
        ({'GPUS': '12', 'GPUS_PER_NODE': '8'}, 'GPUS=12 is no multiple of GPUS_PER_NODE=8'),
        ({'CPUS_PER_TASK': '0'}, "CPUS_PER_TASK is a number from 1 up, not '0'"),
    ],
)
def test_impossible_numbers(variables, words, stubs):
    done = call('slurm_train.sh', *USES['slurm_train.sh'], path=stubs, **variables)
    assert done.returncode == 2
    assert words in done.stderr


@all_scripts
def test_scripts_explain_their_use(script):
    done = call(script, 'c.py', 'many')
    assert done.returncode == 2
    tool = 'train' if 'train' in script else 'test'
    assert f'[options of tools/{tool}.py]' in done.stderr
    assert 'CONFIG' in done.stderr


@all_scripts
def test_scripts_need_the_environment(script, tmp_path):
    (tmp_path / 'dirname').symlink_to(shutil.which('dirname'))
    done = subprocess.run(
        [shutil.which('bash'), str(TOOLS / script), *USES[script]],
        env={'PATH': str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert ' is not on the PATH: ' in done.stderr
