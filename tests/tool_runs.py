"""Runs of the tools inside a test process."""

from mmengine.utils import ManagerMixin


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
