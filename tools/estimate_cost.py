"""Tell what a training costs, from its log: ``python tools/estimate_cost.py --help``."""

from _start import start

start(__name__, 'cost')
