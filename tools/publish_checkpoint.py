"""Write the weights of a checkpoint alone: ``python tools/publish_checkpoint.py --help``."""

from _start import start

start(__name__, 'publish')
