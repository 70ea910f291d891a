"""Compute what metafiles say of the configs: ``python tools/update_metafiles.py --help``."""

from _start import start

start(__name__, 'metafiles')
