"""Convert a checkpoint: ``python tools/convert_checkpoint.py --help``."""

from _start import start

start(__name__, 'convert')
