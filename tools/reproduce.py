"""Measure the paper's tables; ``--help`` lists the options."""

from tinyvim_mm.reproduction.command import main

if __name__ == '__main__':
    main()
