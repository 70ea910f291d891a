"""Speed of training by precision and layout of memory; ``--help`` lists the options."""

from _start import start

start(__name__, 'benchmark', 'training')
