"""Predict on pictures and videos: ``python tools/demo.py --help``."""

from _start import start

start(__name__, 'demo')
