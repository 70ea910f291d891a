"""What happens inside a backbone: spectra, receptive fields, feature maps, activations.

``tools/analyze.py`` stands on :mod:`.tool`. The modules compute; what draws their
results is in :mod:`tinyvim_mm.visualization`.
"""
