"""Train and score networks on small public benchmarks; ``--help`` lists the options."""

from _start import start

start(__name__, 'scores')
