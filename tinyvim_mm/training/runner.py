"""mmengine's Runner, made for long runs: whole checkpoints, and samples that are looked at."""

from pathlib import Path
from typing import Any, Dict, Optional, Union

from mmengine.dist import broadcast_object_list, is_main_process, master_only
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop, Runner
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from ..core.errors import UsageError
from ..core.paths import shown
from .checkpoints import KeepingCheckpointHook, written_whole
from .data.coco import ANNOTATION
from .data.guard import SKIPPED_FILES, SkipLog, empty_dataset, guard_samples
from .data.layout import datasets_of
from .data.reading import reading_annotations
from .epochs import resumable
from .logs import guard_log, guard_scalars
from .memory_format import use_channels_last
from .work_dir import claim_log_folder
from .workers import guard_workers

_CHECKPOINT_HOOKS = ('CheckpointHook', 'mmengine.CheckpointHook', CheckpointHook)


class ToolRunner(Runner):
    """The runner of ``tools/train.py`` and ``tools/test.py``.

    - A checkpoint gets its name when it is complete, and the one before is removed
      after that, see :class:`KeepingCheckpointHook`.
    - A sample that cannot be used is named, and after :meth:`skip_bad_samples`
      replaced, see :func:`guard_samples`.
    - ``channels_last = True`` in a config lays model and images out so.
    - The logs of each run have a folder of their own, see :func:`claim_log_folder`.
    """

    skip_log: Optional[SkipLog] = None
    _building_train_loop = False

    def setup_env(self, env_cfg: Dict) -> None:
        """Set it up, and make the folder of the logs."""
        super().setup_env(env_cfg)
        first = is_main_process()
        name = claim_log_folder(Path(self.work_dir), self._timestamp) if first else None
        names = [name]
        broadcast_object_list(names)
        self._timestamp = names[0]

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build it, see :func:`guard_log`."""
        logger = super().build_logger(*args, **kwargs)
        guard_log(logger)
        return logger

    def build_visualizer(self, visualizer: Optional[Union[Visualizer, Dict]] = None) -> Visualizer:
        """Build it, see :func:`guard_scalars`."""
        visualizer = super().build_visualizer(visualizer)
        guard_scalars(visualizer, self.logger)
        return visualizer

    def skip_bad_samples(self, resumed: bool) -> None:
        """Train without the samples that cannot be used, and list them at the end.

        If ``resumed``, the list in the work dir is of this training, and goes on.
        """
        file = Path(self.work_dir) / SKIPPED_FILES
        if is_main_process() and not resumed:
            file.unlink(missing_ok=True)
        self.skip_log = SkipLog(file)

    def train(self) -> nn.Module:
        """Train; at the end, whatever it is, the skipped samples are listed."""
        try:
            return super().train()
        finally:
            lines = self.skip_log.lines() if self.skip_log and is_main_process() else []
            if lines:
                listed = '\n  '.join(line.replace('\t', ': ') for line in lines)
                file = shown(self.skip_log.file)
                self.logger.warning(f'{len(lines)} samples were skipped, see {file}:\n  {listed}')

    def build_dataloader(  # a static method of the base class, which needs no work dir
        self,
        dataloader: Union[DataLoader, Dict],
        seed: Optional[int] = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Build it around a dataset that is looked at, see :func:`guard_samples`."""
        # mmdet's samplers for several sources, of which some have no labels.
        sampler = dataloader.get('sampler') if isinstance(dataloader, dict) else None
        mixed = isinstance(sampler, dict) and 'MultiSource' in str(sampler.get('type'))
        try:
            with reading_annotations(labeled=self._building_train_loop and not mixed):
                loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        except ValueError as error:
            # What mmengine's dataset makes of an empty list.
            if 'need at least one array to concatenate' not in str(error):
                raise
            part = next(datasets_of(dataloader['dataset']))
            raise UsageError(empty_dataset(part['type'], part.get('ann_file', ''))) from error
        guard_samples(loader.dataset, self._building_train_loop, self.skip_log)
        return guard_workers(loader)

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """Build it, with the annotations that it will need hours later looked at now."""
        # mmengine also takes a whole evaluator, which holds them.
        metrics = evaluator.get('metrics') if isinstance(evaluator, dict) else None
        metrics = metrics or evaluator
        metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
        metrics = [metric for metric in metrics if isinstance(metric, dict)]
        masks = any('segm' in (metric.get('metric') or ()) for metric in metrics)
        keys = (*ANNOTATION, 'iscrowd', *['segmentation'] * masks)
        # One that only writes predictions needs none, as those for COCO's test.
        labeled = not any(metric.get('format_only') for metric in metrics)
        with reading_annotations(keys, labeled):
            return super().build_evaluator(evaluator)

    def build_model(self, model: Union[nn.Module, Dict]) -> nn.Module:
        """Build it, channels-last if the config says so, see :func:`use_channels_last`."""
        model = super().build_model(model)
        # Before DistributedDataParallel, which copies the layout of its gradients.
        return use_channels_last(model) if self.cfg.get('channels_last') else model

    def build_train_loop(self, loop: Union[BaseLoop, Dict]) -> BaseLoop:
        """Build it with the loader of the training samples."""
        # Nothing that build_dataloader gets tells what the samples are for:
        # mmseg and mmpretrain leave test_mode unset for those of a test.
        self._building_train_loop = True
        try:
            return super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)
        finally:
            self._building_train_loop = False

    def register_default_hooks(self, hooks: Optional[Dict[str, Union[Hook, Dict]]] = None) -> None:
        """Register them, with :class:`KeepingCheckpointHook` for mmengine's."""
        hooks = dict(hooks or {})
        checkpoint = hooks.get('checkpoint', dict(type='CheckpointHook', interval=1))
        # Some configs have the class itself in place of its name.
        if isinstance(checkpoint, dict) and checkpoint.get('type') in _CHECKPOINT_HOOKS:
            hooks['checkpoint'] = {**checkpoint, 'type': KeepingCheckpointHook}
        super().register_default_hooks(hooks)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save under another name, and rename when the file is complete."""
        backends = [*args[:1], kwargs.get('file_client_args'), kwargs.get('backend_args')]
        if '://' in str(out_dir) or any(value is not None for value in backends):  # remote
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        with written_whole(Path(out_dir) / filename, Path(self.work_dir)) as part:
            super().save_checkpoint(out_dir, part.name, *args, **kwargs)
