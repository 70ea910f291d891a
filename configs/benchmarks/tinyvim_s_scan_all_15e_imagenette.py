"""TinyViM-S that scans all frequencies, on Imagenette, 15 epochs."""

_base_ = './tinyvim_s_15e_imagenette.py'

model = dict(backbone=dict(scan_frequencies='all'))
