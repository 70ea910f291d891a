"""Train twice with the same seed and compare, bit by bit; see ``--help``."""

from tinyvim_mm.reliability.determinism import main

if __name__ == '__main__':
    main()
