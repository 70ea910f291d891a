"""Measure the paper's tables; ``--help`` lists the options."""

from _start import start

start(__name__, 'reproduce')
