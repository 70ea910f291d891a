"""Necks of detectors, for backbones that the toolboxes' own do not fit."""
