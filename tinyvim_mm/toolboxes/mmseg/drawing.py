"""Label maps drawn over photographs, true ones beside predicted ones."""

from typing import TYPE_CHECKING, Optional

from ..common import draw_sample

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmseg.structures import SegDataSample

    from ...visualization.sheet import Row


def draw_row(runner: 'Runner', sample: 'SegDataSample', label: str) -> 'Row':
    """See :class:`tinyvim_mm.toolboxes.Toolbox`.

    The prediction is drawn where there is ground truth: of the other pixels
    the network learned nothing, and nobody can say whether it is right.
    """
    import mmcv

    from ...visualization.sheet import Row

    sample = sample.cpu()
    ignored = runner.model.decode_head.ignore_index
    truth, prediction = sample.gt_sem_seg.data, sample.pred_sem_seg.data
    labelled = truth != ignored
    right = (prediction == truth)[labelled].float().mean().item() if labelled.any() else 0.0
    sample.pred_sem_seg.data = prediction.where(labelled, prediction.new_tensor(ignored))
    classes = runner.visualizer.dataset_meta['classes']
    names = ', '.join(classes[number].strip() for number in truth[labelled].unique().tolist())
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    return Row(
        truth=draw_sample(runner, image, sample, truth=True),
        prediction=draw_sample(runner, image, sample, truth=False),
        truth_caption=f'{names or "nothing labelled"};\none of the {label}',
        prediction_caption=f'{100 * right:.0f} % of the labelled pixels right;\n'
        'the other pixels are neither trained nor scored',
    )


def show_predictions(cfg: 'Config', hook: dict, folder: Optional[str]) -> None:
    """See :class:`tinyvim_mm.toolboxes.Toolbox`."""
    # Every picture: mmseg 1.2 draws one in fifty of a test.
    hook.update(draw=True, interval=1)
    if folder:
        # The hook leaves the folder to the visualizer.
        cfg.visualizer.save_dir = folder
