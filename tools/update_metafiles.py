"""Compute what metafiles say of the configs: ``python tools/update_metafiles.py --help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.metafiles')
