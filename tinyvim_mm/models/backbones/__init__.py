"""Backbones, one file each; :mod:`tinyvim_mm.models.catalogue` lists them."""
