"""A sheet of pictures: ground truth beside prediction, a row per photograph."""

from dataclasses import dataclass
from pathlib import Path
from typing import Sequence, Union

import numpy as np

from .figure import new_figure, save_figure


@dataclass(frozen=True)
class Row:
    """One photograph of the sheet.

    Attributes:
        truth: RGB picture (H, W, 3), 8 bits, with the ground truth drawn in.
        prediction: The same with the prediction drawn in.
        truth_caption: Stands above ``truth``.
        prediction_caption: Stands above ``prediction``.
    """

    truth: np.ndarray
    prediction: np.ndarray
    truth_caption: str
    prediction_caption: str


def save_sheet(
    rows: Sequence[Row], out_file: Union[str, Path], title: str, columns: int = 1
) -> Path:
    """Draw rows of ground truth and prediction, and save them as a picture; returns its path.

    Args:
        rows: At least one.
        out_file: PNG to write; its folder is created.
        title: Stands above the sheet.
        columns: Photographs side by side; each takes two pictures.

    Raises:
        ValueError: There are no rows.
    """
    if not rows:
        raise ValueError('a sheet needs at least one photograph, got none')
    lines = -(-len(rows) // columns)
    figure = new_figure((9 * columns, 3.6 * lines + 0.8), title)
    grid = figure.subplots(lines, 2 * columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index, row in enumerate(rows):
        truth, prediction = grid.flat[2 * index : 2 * index + 2]
        truth.imshow(row.truth)
        truth.set_title(row.truth_caption, fontsize=9)
        prediction.imshow(row.prediction)
        prediction.set_title(row.prediction_caption, fontsize=9)
    return save_figure(figure, out_file)
