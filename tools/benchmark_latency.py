"""Latency of the backbones in all their forms; ``--help`` lists the options."""

from tinyvim_mm.benchmarks.latency import main

if __name__ == '__main__':
    main()
