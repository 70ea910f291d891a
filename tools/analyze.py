"""Look inside a network: ``python tools/analyze.py --help``."""

from _start import start

start(__name__, 'analyze')
