"""Train the model of a config: ``python tools/train.py --help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.train')
