"""Tell what a training costs, from its log: ``python tools/estimate_cost.py --help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.cost')
