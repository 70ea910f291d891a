"""Train twice with the same seed and compare, bit by bit; see ``--help``."""

from _start import start

start(__name__, 'check', 'determinism')
