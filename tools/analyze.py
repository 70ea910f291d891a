"""Look inside a network: ``python tools/analyze.py --help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.analyze')
