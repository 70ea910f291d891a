"""Train on your own pictures: ``python tools/finetune.py --help``."""

from _start import start

start(__name__, 'finetune')
