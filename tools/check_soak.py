"""Train for hours with kills and full disks, and compare the end; see ``--help``."""

from _start import start

start(__name__, 'check', 'soak')
