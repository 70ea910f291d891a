"""Make a table of trainings from their logs: ``python tools/collect_results.py --help``."""

from _start import start

start(__name__, 'collect')
