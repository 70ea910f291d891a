"""Latency of the backbones in all their forms; ``--help`` lists the options."""

from _start import start

start(__name__, 'benchmark', 'latency')
