"""The list of what is wrong with data: counted by kind, with examples."""

from collections import Counter, defaultdict
from typing import Dict, List

_EXAMPLES = 3


class Faults:
    """What is wrong with the data: by kind how often, what is done about it, and examples."""

    def __init__(self) -> None:
        self.counts: Counter = Counter()
        self.examples: Dict[str, List[str]] = defaultdict(list)
        self.notes: List[str] = []

    def add(self, kind: str, example: str) -> None:
        """Count one; ``kind`` says what is wrong and, behind a colon, what is done."""
        self.counts[kind] += 1
        if len(self.examples[kind]) < _EXAMPLES:
            self.examples[kind].append(example)

    def note(self, text: str) -> None:
        """Keep something that is no fault and that a user should know."""
        self.notes.append(text)

    def lines(self) -> List[str]:
        """All of it, most frequent first."""
        lines = []
        for kind, count in self.counts.most_common():
            lines.append(f'{count} x {kind}')
            lines += [f'    {example}' for example in self.examples[kind]]
            if count > len(self.examples[kind]):
                lines.append(f'    and {count - len(self.examples[kind])} more')
        return lines
