"""Classes written below photographs, true ones beside predicted ones."""

from pathlib import Path
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmpretrain.structures import DataSample

    from ...visualization.sheet import Row

# How many classes a caption names, and the size of a drawn picture.
TOP = 3
DRAWN_EDGE = 224


def draw_row(runner: 'Runner', sample: 'DataSample', label: str) -> 'Row':
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    import mmcv

    from ...visualization.sheet import Row

    classes = runner.visualizer.dataset_meta['classes']
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    scores, labels = sample.pred_score.cpu().topk(min(TOP, len(classes)))
    best = [f'{classes[i]} {s:.2f}' for s, i in zip(scores.tolist(), labels.tolist(), strict=True)]
    truth = ', '.join(classes[i] for i in sample.gt_label.tolist())
    return Row(
        truth=image,
        prediction=runner.visualizer.visualize_cls(
            image, sample.cpu(), resize=DRAWN_EDGE, draw_gt=False, name=Path(sample.img_path).stem
        ),
        truth_caption=f'{truth};\none of the {label}',
        prediction_caption=', '.join(best),
    )


def show_predictions(cfg: 'Config', hook: dict, folder: Optional[str]) -> None:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    del cfg
    hook.update(enable=True, interval=1)
    if folder:
        hook['out_dir'] = folder
