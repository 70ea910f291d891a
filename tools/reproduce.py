"""Measure the paper's tables; ``--help`` lists the options."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.reproduce')
