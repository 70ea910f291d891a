"""Kill and resume a training, and compare it with one that ran through; see ``--help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.reliability.resume')
