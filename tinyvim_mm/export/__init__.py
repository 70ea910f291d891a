"""From a checkpoint to a file that runs without PyTorch.

``tools/export.py`` writes such files; :mod:`.runtime` runs them on pictures with
numpy, Pillow and ONNX Runtime alone. Importing this package imports neither
torch nor a toolbox; :mod:`.runtime` and :mod:`.metadata` never do.
"""
