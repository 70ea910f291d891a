"""Export a network to ONNX or torch.export: ``python tools/export.py --help``."""

from _start import start

start(__name__, 'export')
