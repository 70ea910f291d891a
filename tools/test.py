"""Evaluate the checkpoint of a config: ``python tools/test.py --help``."""

from _start import start

start(__name__, 'test')
