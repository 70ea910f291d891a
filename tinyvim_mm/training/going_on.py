"""How a user goes on with a training."""

import shlex
from typing import List


def resuming(command: str) -> str:
    """The command that resumes what a command trained, from the latest checkpoint."""
    words = shlex.split(command)
    if '--launcher' in words:  # which a script has added
        return 'the same command and --resume'
    kept: List[str] = []
    for i, word in enumerate(words):
        follows = i > 0 and words[i - 1] == '--resume' and not word.startswith('-')
        if word.split('=')[0] != '--resume' and not follows:
            kept.append(word)
    return shlex.join([*kept, '--resume'])
