"""Predict on pictures and videos: ``python tools/demo.py --help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.demo')
