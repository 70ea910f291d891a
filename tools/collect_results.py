"""Make a table of trainings from their logs: ``python tools/collect_results.py --help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.collect')
