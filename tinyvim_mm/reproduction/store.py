"""What was measured, on disk."""

import json
from pathlib import Path
from typing import Any, Dict, List

from ..core.errors import UsageError
from .output import Cells
from .schema import Row


class Store:
    """The measured cells of a table; the file is written after each, so that a run can go on.

    Args:
        path: JSON file.
        facts: Machine, versions, date and command of this run.
        resume: Whether to keep the cells in the file, if all facts but date and command
            are the same.

    Attributes:
        cells: See :data:`.output.Cells`.
        facts: Those of the run that measured the cells in the file; once this run measures,
            its own, with both commands.
    """

    def __init__(self, path: Path, facts: Dict[str, Any], resume: bool) -> None:
        self.path = path
        self.facts = self._now = facts
        self.cells: Cells = {}
        if resume and path.is_file():
            try:
                found = json.loads(path.read_text(encoding='utf-8'))
            except json.JSONDecodeError as error:
                raise UsageError(f'--resume: {path} is damaged ({error}); remove it') from error
            if self._lasting(found['provenance']) == self._lasting(facts):
                self.cells, self.facts = found['cells'], found['provenance']
            else:
                print(f'{path} was measured with something else and is measured anew')

    @staticmethod
    def _lasting(facts: Dict[str, Any]) -> Dict[str, Any]:
        return {key: value for key, value in facts.items() if key not in ('date', 'command')}

    def has(self, row: Row, column: str) -> bool:
        """Whether a cell is there already, with a figure."""
        return 'measured' in self.cells.get(row.name, {}).get(column, {})

    def put(self, row: Row, column: str, **cell: Any) -> None:
        """Add a cell and save."""
        before = self.facts['command']
        if 'measured' in cell and not before.endswith(self._now['command']):
            self.facts = {**self._now, 'command': f'{before}; {self._now["command"]}'}
        self.cells.setdefault(row.name, {})[column] = cell
        self.write([])

    def write(self, records: List[Dict[str, Any]]) -> None:
        """Save; an earlier file is replaced once the new one is whole."""
        partial = self.path.with_suffix('.partial')
        content = {'provenance': self.facts, 'cells': self.cells, 'records': records}
        partial.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
        partial.replace(self.path)
