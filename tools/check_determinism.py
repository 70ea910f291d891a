"""Train twice with the same seed and compare, bit by bit; see ``--help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.reliability.determinism')
