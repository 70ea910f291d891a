"""Which steps are to be done, and doing them."""

from typing import Dict, Iterator, List, Optional, Tuple

from .common import CACHE, STAMPS, SetupError
from .machine import warn_of_little_disk
from .progress import Activity
from .setup import Setup
from .state import digest, distribution, read_json, write_json
from .steps import Step, make_steps
from .venv_folder import discard, forget_half_installed, prepare_venv


class Plan:
    """The steps of a set-up, each with the hash that its stamp must have.

    Args:
        setup: What is wanted and what is there.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.steps = make_steps(setup)

    def pending(self) -> Optional[List[Tuple[Step, str]]]:
        """Steps to do; ``None`` if even the environment itself is missing or broken."""
        if not self.setup.venv_is_sound():
            return None
        present = self.setup.installed()
        return [(step, key) for step, key in self.keyed_steps() if not is_done(step, key, present)]

    def keyed_steps(self) -> Iterator[Tuple[Step, str]]:
        """One hash a step; each depends on the steps before, whose results it builds on."""
        key = self.setup.venv_key()
        for step in self.steps:
            key = digest(key, step.name, *step.requirements, step.content)
            yield step, key

    def run(self) -> None:
        """Do everything that is not done yet."""
        (CACHE / 'logs').mkdir(parents=True, exist_ok=True)
        discard(*(CACHE / 'tmp').glob('*'))  # of a killed start
        pending = self.pending()
        if pending is None or any(step.name == 'torch' for step, _ in pending):
            warn_of_little_disk(self.setup.device)
        if pending is None:
            prepare_venv(self.setup)
            pending = self.pending()
            if pending is None:
                raise SetupError(f'{self.setup.python} does not run although it was just made')
        forget_half_installed(self.setup)
        for step, key in pending:
            self.do(step, key)

    def do(self, step: Step, key: str) -> None:
        """Do one step and stamp it."""
        stamp = STAMPS / f'{step.name}.json'
        if stamp.exists():
            stamp.unlink()
        self.setup.start_log(step.name)
        number = self.steps.index(step) + 1
        activity = Activity(f'[{number}/{len(self.steps)}] {step.title}')
        try:
            facts = step.install(self.setup, activity) or {}
        except BaseException:
            activity.abandon()
            raise
        present = self.setup.installed()
        # Of an open requirement a later step may take another version, rightly.
        pinned = [
            distribution(wanted) for wanted in step.requirements if '==' in wanted.partition(';')[0]
        ]
        versions = {name: present.get(name) for name in pinned}
        write_json(stamp, {'key': key, 'versions': versions, 'facts': facts})
        activity.finish()


def is_done(step: Step, key: str, present: Dict[str, str]) -> bool:
    """Whether a step's stamp is the wanted one and what it installed is still there."""
    stamp = read_json(STAMPS / f'{step.name}.json')
    versions = stamp.get('versions', {})
    return stamp.get('key') == key and all(
        present.get(name) == version for name, version in versions.items()
    )
