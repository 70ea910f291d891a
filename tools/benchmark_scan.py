"""Verify and time the scan backends; ``--help`` lists the options."""

from _start import start

start(__name__, 'benchmark', 'scan')
