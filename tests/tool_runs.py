"""Runs of the tools inside a test process."""

import pytest
from mmengine.utils import ManagerMixin

from tinyvim_mm.commands import train


def forget_runs():
    """Let the next Runner begin as in a process of its own.

    A second one would get the visualizer of the first, and write its log into
    the first one's folder.
    """
    classes = [ManagerMixin]
    while classes:
        cls = classes.pop()
        classes += cls.__subclasses__()
        if '_instance_dict' in vars(cls):
            cls._instance_dict.clear()


def run_sample(main, config, *argv, options=()):
    """Call a tool's ``main`` with ``--sample``."""
    forget_runs()
    main([config, *map(str, argv), '--sample', '--cfg-options', *options])


def whole_and_parts(run, folder, half, full):
    """Train once in one go, as ``whole``, and once interrupted and resumed, as ``parts``.

    Args:
        run: ``run_sample`` of one config.
        folder: Current folder of the runs, and of the tests until the generator is closed.
        half: Option that ends a training at the interruption.
        full: Option that lets it run to its end.

    Yields:
        The folder.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(train.main, '--work-dir', folder / 'whole', options=[full])
        run(train.main, '--work-dir', folder / 'parts', options=[half])
        run(train.main, '--work-dir', folder / 'parts', '--resume', options=[full])
        yield folder
    forget_runs()
