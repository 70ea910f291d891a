"""Latency of TinyViM in all its forms; ``--help`` lists the options."""

from tinyvim_mm.benchmarks.latency import main

if __name__ == '__main__':
    main()
