"""Train the model of a config: ``python tools/train.py --help``."""

from _start import start

start(__name__, 'train')
