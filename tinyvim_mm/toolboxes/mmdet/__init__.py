"""Detection and instance segmentation; see :class:`tinyvim_mm.toolboxes.Toolbox`."""

from .dataset import FULL_DATA, LAYOUTS, SCORES, dump_metric, score_line
from .drawing import draw_row, show_predictions
from .sample import (
    SEEN,
    UNSEEN,
    pick_photographs,
    read_training_photographs,
    sample_changes,
)

__all__ = [
    'FULL_DATA',
    'LAYOUTS',
    'SCORES',
    'SEEN',
    'UNSEEN',
    'draw_row',
    'dump_metric',
    'pick_photographs',
    'read_training_photographs',
    'sample_changes',
    'score_line',
    'show_predictions',
]
