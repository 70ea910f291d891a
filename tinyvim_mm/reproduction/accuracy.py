"""Accuracies, evaluated by the toolboxes themselves."""

from typing import Any, Dict, Mapping, Optional, Sequence

from ..core.errors import UsageError
from ..training import evaluate as run_evaluation


def parse_checkpoints(pairs: Sequence[str]) -> Dict[str, str]:
    """``CONFIG=FILE`` to a dict.

    Raises:
        UsageError: One has no ``=``, or its config is unknown.
    """
    from ..recipes.zoo import list_models

    found = {}
    for pair in pairs:
        name, separator, path = pair.partition('=')
        if not separator or not path:
            raise UsageError(f'--checkpoint takes CONFIG=FILE, got {pair!r}')
        if name not in list_models():
            raise UsageError(
                f'--checkpoint: there is no config {name!r}; tinyvim_mm.list_models() lists them'
            )
        found[name] = path
    return found


def evaluate(
    config: str,
    checkpoint: str,
    work_dir: str,
    data_root: Optional[str] = None,
    options: Optional[Mapping[str, Any]] = None,
    trust_checkpoint: bool = False,
) -> Dict[str, Any]:
    """Evaluate a checkpoint as ``tools/test.py`` does.

    Args:
        config: Name of a config.
        checkpoint: File.
        work_dir: Folder for the log.
        data_root: Stands for ``data`` of the configs.
        options: Dotted keys of the config to new values.
        trust_checkpoint: See :func:`~tinyvim_mm.weights.files.load_file`.

    Returns:
        What the toolbox's metrics return.

    Raises:
        UsageError: Data, checkpoint or package is missing; the message says which.
    """
    return run_evaluation(
        config,
        checkpoint,
        work_dir,
        options=options,
        data_root=data_root,
        trust_checkpoint=trust_checkpoint,
    )
