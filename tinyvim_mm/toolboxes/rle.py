"""COCO's run-length encoding of masks, with numpy alone."""

from typing import Any, Dict, List

import numpy as np


def encode(mask: np.ndarray) -> Dict[str, Any]:
    """A mask ``(H, W)`` as COCO's results have it: ``size`` and ``counts``.

    These are the same text that ``pycocotools`` gives.
    """
    flat = np.asarray(mask, bool).ravel(order='F')
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    if flat.size and flat[0]:  # the first run is of zeros
        runs.insert(0, 0)
    return {'size': [int(side) for side in mask.shape], 'counts': _text(runs)}


def _text(runs: List[int]) -> str:
    """Numbers in groups of 5 bits, from the third on as differences from the one before last."""
    letters = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits, value = value & 31, value >> 5
            # The highest bit of the last group is the sign.
            more = value != (-1 if bits & 16 else 0)
            letters.append(chr(48 + bits + 32 * more))
    return ''.join(letters)
