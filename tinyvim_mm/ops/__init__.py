"""Selective-scan operators. They know tensors only, nothing of the models.

``selective_scan`` is the 1-D scan with mamba-ssm's meaning, ``ss2d`` the whole
2-D operator: cross-scan, projections, scan and cross-merge. ``scan_skipping`` applies
the latter to grids with a step of 2. ``position_table`` makes the table of an order,
which may also be one of your own.
"""

from .backends import BackendUnavailableError, Obstacle, available_backends, describe_choice
from .scan_paths import BIDIRECTIONAL, CROSS_SCAN, SKIP_SCAN, ScanPath, position_table
from .selective_scan import selective_scan
from .skip_scan import scan_skipping
from .ss2d import ss2d

__all__ = [
    'BIDIRECTIONAL',
    'CROSS_SCAN',
    'SKIP_SCAN',
    'BackendUnavailableError',
    'Obstacle',
    'ScanPath',
    'available_backends',
    'describe_choice',
    'position_table',
    'scan_skipping',
    'selective_scan',
    'ss2d',
]
