"""Latency of the backbones in all their forms; ``--help`` lists the options."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.benchmarks.latency')
