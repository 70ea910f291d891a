"""``tinyvim-mm doctor``: what of an installation works, what does not, and the cure.

``packages`` looks at the distributions, ``torch_build`` at torch, its CUDA and
torchvision, ``extension`` at the compiled operators, ``scan`` computes with every
backend that runs here; ``tinyvim-mm doctor`` prints. Nothing is imported before its check:
a broken package is a finding, not a traceback.
"""
