"""Speed of whole backbones by implementation of the scan; ``--help`` lists the options."""

from _start import start

start(__name__, 'benchmark', 'backends')
