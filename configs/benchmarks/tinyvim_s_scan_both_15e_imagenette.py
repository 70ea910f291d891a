"""TinyViM-S that scans low and high frequencies side by side, on Imagenette, 15 epochs."""

_base_ = './tinyvim_s_15e_imagenette.py'

model = dict(backbone=dict(scan_frequencies='both'))
