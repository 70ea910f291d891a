"""Evaluate the checkpoint of a config: ``python tools/test.py --help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.test')
