"""Checkpoints that survive a killed training."""

import os
import re
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Optional

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ..core.errors import CheckpointError, UsageError
from ..core.paths import put_in_place, shown, write_whole
from ..weights.files import load_file
from .space import check_space
from .work_dir import reason

_NUMBERED = re.compile(r'(?:epoch|iter)_(\d+)\.pth')
_ZIP = b'PK'
#: In the work dir: the path of the latest checkpoint.
NOTE = 'last_checkpoint'


class KeepingCheckpointHook(CheckpointHook):
    """mmengine's hook, which removes an old checkpoint after it saved the new one.

    mmengine removes it before: with ``max_keep_ckpts=1`` a training that is killed
    while it saves has none left. The same holds for the best one (``save_best``). And it writes
    ``last_checkpoint`` in place, in the encoding of the locale.
    """

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if is_main_process():
            check_space(self, runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: Dict) -> None:
        outdated: List[int] = []
        if self.max_keep_ckpts > 0 and list(self.keep_ckpt_ids)[-1:] != [step]:
            kept = [*self.keep_ckpt_ids, step]
            outdated = kept[: -self.max_keep_ckpts]
            self.keep_ckpt_ids.append(step)  # its length is bounded
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        write_whole(Path(runner.work_dir) / NOTE, os.fsencode(self.last_ckpt))
        for number in outdated:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(number))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: Dict) -> None:
        if not self.save_best:
            return
        before = self._best()
        # Of a best one that it does not know, the base class removes nothing.
        self._set_best(dict.fromkeys(before))
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            after = {key: path or before[key] for key, path in self._best().items()}
            self._set_best(after)
        outdated = set(before.values()) - set(after.values())
        for path in outdated if is_main_process() else ():
            if path and self.file_backend.isfile(path):
                self.file_backend.remove(path)
                runner.logger.info(f'The previous best checkpoint {path} is removed')

    def _best(self) -> Dict[str, Optional[str]]:
        """Path of the best checkpoint by each score; of a single one the name may be 'auto' yet."""
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    def _set_best(self, paths: Dict[str, Optional[str]]) -> None:
        if len(self.key_indicators) == 1:
            (self.best_ckpt_path,) = paths.values()
        else:
            self.best_ckpt_path_dict.update(paths)


@contextmanager
def written_whole(file: Path, work_dir: Path) -> Iterator[Path]:
    """Give a checkpoint its name when it is complete, and leave nothing of one that fails.

    Args:
        file: The checkpoint.
        work_dir: Of the training, whose checkpoint before this one is named.

    Yields:
        Where to write it.

    Raises:
        UsageError: It cannot be written.
    """
    part = file.with_name(f'.{file.name}.part')
    try:
        yield part
        put_in_place(part, file)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        before = noted_checkpoint(work_dir)
        resumed = f'{Path(before).name}, which is whole' if before else 'an earlier one, if any'
        raise UsageError(
            f'{shown(file)} cannot be saved: {reason(error, file.parent)}. Make room, then go on '
            f'with --resume: it starts from {resumed}'
        ) from error


def noted_checkpoint(work_dir: Path) -> str:
    """What ``last_checkpoint`` names: a path, or an address; empty if there is no such file."""
    note = Path(work_dir) / NOTE
    return os.fsdecode(note.read_bytes()).strip() if note.is_file() else ''


def latest_checkpoint(work_dir: str, trust: bool = False) -> Optional[str]:
    """Find the checkpoint to resume from, and prove that it is whole.

    Args:
        work_dir: Its ``last_checkpoint`` names the latest. Where that is absent or
            damaged, the others are tried, those with the largest number first;
            what is wrong with it is printed.
        trust: Let a checkpoint execute code.

    Returns:
        A path, an address that mmengine may check, or ``None`` where no training
        has saved anything.

    Raises:
        UsageError: There are checkpoints, and none of them is whole.
    """
    note = Path(work_dir) / NOTE
    latest = noted_checkpoint(Path(work_dir))
    if '://' in latest:
        return latest
    named: List[Path] = []
    if latest:
        # The path is relative to the folder in which the training was started.
        moved = Path(work_dir) / Path(latest).name
        named = [moved if moved.is_file() and not Path(latest).is_file() else Path(latest)]
    known = {path.resolve() for path in named}
    others = [
        path
        for folder in dict.fromkeys([Path(work_dir), *(path.parent for path in named)])
        for path in folder.glob('*.pth')
        if _NUMBERED.fullmatch(path.name) and path.resolve() not in known
    ]
    faults = []
    if note.is_file() and not latest:
        faults.append(f'{note} is empty')
    for file in named + sorted(others, key=_number, reverse=True):
        fault = fault_of_checkpoint(file, trust)
        if not fault:
            if faults:
                print(f'{"; ".join(faults)}: resuming from {file}', flush=True)
            return str(file)
        faults.append(f'{file} {fault}')
    if faults:
        raise UsageError(
            '\n  '.join([f'--resume: no checkpoint in {work_dir} is whole:', *faults])
            + '\nName one of another folder (--resume FILE), or train from the start without '
            '--resume'
        )
    return None


def fault_of_checkpoint(file: Path, trust: bool = False) -> str:
    """What is wrong with a checkpoint, found by its checksums; empty if nothing is."""
    if file.is_dir():  # of a sharded training
        return ''
    if not file.is_file():
        return 'does not exist'
    with file.open('rb') as stream:
        head = stream.read(len(_ZIP))
    if not head:
        return 'is empty'
    try:
        if head == _ZIP:  # torch does not compare the checksums
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
            return f'is damaged: wrong checksum of {damaged}' if damaged else ''
        load_file(str(file), trust=trust, finite=False)
    except zipfile.BadZipFile:
        return 'is damaged or cut off'
    except CheckpointError as error:
        return f'cannot be read: {error}'
    return ''


def _number(path: Path) -> int:
    return int(_NUMBERED.fullmatch(path.name).group(1))
