"""Convert a checkpoint: ``python tools/convert_checkpoint.py --help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.convert')
