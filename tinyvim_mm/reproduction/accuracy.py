"""Accuracies, evaluated by the toolboxes themselves."""

from typing import Any, Dict, List, Optional, Sequence

from ..engine import test as tool
from ..engine.errors import UsageError


def parse_checkpoints(pairs: Sequence[str]) -> Dict[str, str]:
    """``CONFIG=FILE`` to a dict.

    Raises:
        UsageError: One has no ``=``, or its config is unknown.
    """
    from ..model_zoo import list_models

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
    cfg_options: Sequence[str] = (),
    trust_checkpoint: bool = False,
) -> Dict[str, Any]:
    """Evaluate a checkpoint as ``tools/test.py`` does.

    Args:
        config: Name of a config.
        checkpoint: File.
        work_dir: Folder for the log.
        data_root: Stands for ``data`` of the configs.
        cfg_options: ``KEY=VALUE`` each.
        trust_checkpoint: See :func:`~tinyvim_mm.checkpoint.load_file`.

    Returns:
        What the toolbox's metrics return.

    Raises:
        UsageError: Data, checkpoint or package is missing; the message says which.
    """
    argv: List[str] = [config, checkpoint, '--work-dir', work_dir]
    if data_root:
        argv += ['--data-root', data_root]
    if trust_checkpoint:
        argv.append('--trust-checkpoint')
    if cfg_options:
        argv += ['--cfg-options', *cfg_options]
    args = tool.build_parser().parse_args(argv)
    args.command = 'python tools/test.py ' + ' '.join(argv)
    return tool.test(args)
