"""Export a network to ONNX or torch.export: ``python tools/export.py --help``."""

from _start import start

if __name__ == '__main__':
    start('tinyvim_mm.commands.export')
