"""Kill and resume a training, and compare it with one that ran through; see ``--help``."""

from tinyvim_mm.reliability.resume import main

if __name__ == '__main__':
    main()
