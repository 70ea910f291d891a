"""Objects drawn on photographs, true ones beside predicted ones."""

import warnings
from typing import TYPE_CHECKING, Optional

from ..common import draw_sample

if TYPE_CHECKING:
    from mmdet.structures import DetDataSample
    from mmengine.config import Config
    from mmengine.runner import Runner

    from ...visualization.sheet import Row

# Predictions below it are not drawn; mmdet's visualization hook has the same.
SCORE_THRESHOLD = 0.3


def draw_row(runner: 'Runner', sample: 'DetDataSample', label: str) -> 'Row':
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    import mmcv

    from ...visualization.sheet import Row

    image = mmcv.imread(sample.img_path, channel_order='rgb')
    drawn = int((sample.pred_instances.scores > SCORE_THRESHOLD).sum())
    with warnings.catch_warnings():
        # Objects touch the border of a photograph as a matter of course.
        warnings.filterwarnings('ignore', message='.*out of bounds')
        truth, prediction = (
            draw_sample(runner, image, sample, truth, pred_score_thr=SCORE_THRESHOLD)
            for truth in (True, False)
        )
    return Row(
        truth=truth,
        prediction=prediction,
        truth_caption=f'{len(sample.gt_instances)} objects; one of the {label}',
        prediction_caption=f'{drawn} predicted with a score above {SCORE_THRESHOLD}'
        if drawn
        else f'nothing predicted with a score above {SCORE_THRESHOLD}',
    )


def show_predictions(cfg: 'Config', hook: dict, folder: Optional[str]) -> None:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    hook['draw'] = True
    if folder:
        # The hook puts relative folders below the work dir: this one is absolute.
        hook['test_out_dir'] = folder
