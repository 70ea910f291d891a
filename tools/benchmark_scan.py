"""Verify and time the scan backends; ``--help`` lists the options."""

from tinyvim_mm.benchmarks.scan import main

if __name__ == '__main__':
    main()
