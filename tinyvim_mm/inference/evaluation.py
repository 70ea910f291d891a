"""Scores of an exported file, with the data and metrics of the config that it comes from."""

from pathlib import Path
from typing import Any, Dict, Optional, Union

import numpy as np
import torch
from torch import Tensor

from ..core.errors import UsageError
from ..export.runtime import Runner
from ..training import evaluate_network


def evaluate_exported(
    config: Union[str, Path],
    file: Union[str, Path],
    work_dir: Union[str, Path, None] = None,
    *,
    threads: Optional[int] = None,
    **settings: Any,
) -> Dict[str, Any]:
    """Evaluate an exported classifier or segmentor on the config's test data.

    Pictures are read and the scores computed by the toolbox, as for a checkpoint; only the network
    is the file. So a difference of scores is of the network alone.

    Args:
        config: Path of the config, or its name.
        file: An ``.onnx`` file with logits; of a segmentor for any size, or for that of all
            pictures.
        work_dir: Folder for the log.
        threads: Of ONNX Runtime.
        settings: Of :func:`tinyvim_mm.training.evaluate_network`.

    Returns:
        What the toolbox's metrics return.

    Raises:
        UsageError: The file has no logits, or another part of the network.
        ExportedFileError: It cannot be run.

    Example:
        >>> from tinyvim_mm.inference import evaluate_exported
        >>> evaluate_exported('tinyvim_s_300e_in1k', 'tinyvim_s.int8.onnx')  # doctest: +SKIP
        {'accuracy/top1': ...}
    """
    runner = Runner(file, threads)
    meta = runner.metadata
    if meta.part == 'detector':
        raise UsageError(
            f'{file} holds a whole detector, of which no scores are computed; score the checkpoint '
            'that it comes from'
        )
    if meta.part not in ('classifier', 'segmentor') or meta.output != 'logits':
        raise UsageError(
            f'{file} holds the {meta.part} of {meta.config} and gives {meta.output}; scores are '
            'computed from the logits of a whole classifier or segmentor: export with '
            '--output logits'
        )

    def network(images: Tensor) -> Tensor:
        logits = runner(np.ascontiguousarray(images.cpu().numpy(), np.float32))[0]
        return torch.from_numpy(logits).to(images.device)

    return evaluate_network(config, network, work_dir, **settings)
