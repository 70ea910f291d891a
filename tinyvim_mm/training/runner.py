"""mmengine's Runner, made for long runs: whole checkpoints, and samples that are looked at."""

from pathlib import Path
from typing import Any, Dict, Optional, Union

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from ..core.errors import UsageError
from ..core.paths import put_in_place, shown
from .checkpoints import KeepingCheckpointHook
from .data.guard import SKIPPED_FILES, SkipLog, empty_dataset, guard_samples
from .data.layout import datasets_of
from .epochs import resumable
from .memory_format import use_channels_last
from .workers import guard_workers


class ToolRunner(Runner):
    """The runner of ``tools/train.py`` and ``tools/test.py``.

    - A checkpoint gets its name when it is complete, and the one before is removed
      after that, see :class:`KeepingCheckpointHook`.
    - A sample that cannot be used is named, and after :meth:`skip_bad_samples`
      replaced, see :func:`guard_samples`.
    - ``channels_last = True`` in a config lays model and images out so.
    """

    skip_log: Optional[SkipLog] = None
    _building_train_loop = False

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
        try:
            loader = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        except ValueError as error:
            # What mmengine's dataset makes of an empty list.
            if 'need at least one array to concatenate' not in str(error):
                raise
            part = next(datasets_of(dataloader['dataset']))
            raise UsageError(empty_dataset(part['type'], part.get('ann_file', ''))) from error
        guard_samples(loader.dataset, self._building_train_loop, self.skip_log)
        return guard_workers(loader)

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
        if isinstance(checkpoint, dict) and checkpoint.get('type') == 'CheckpointHook':
            hooks['checkpoint'] = {**checkpoint, 'type': KeepingCheckpointHook}
        super().register_default_hooks(hooks)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Save under another name, and rename when the file is complete."""
        backends = [*args[:1], kwargs.get('file_client_args'), kwargs.get('backend_args')]
        if '://' in str(out_dir) or any(value is not None for value in backends):  # remote
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        part = f'.{filename}.part'
        super().save_checkpoint(out_dir, part, *args, **kwargs)
        put_in_place(Path(out_dir) / part, Path(out_dir) / filename)
