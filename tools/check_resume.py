"""Kill and resume a training, and compare it with one that ran through; see ``--help``."""

from _start import start

start(__name__, 'check', 'resume')
