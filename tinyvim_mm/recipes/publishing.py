"""A checkpoint as it is handed on: the weights, the names of the classes, and nothing else."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Union

from torch import Tensor

from ..core.errors import UsageError
from ..version import __version__
from ..weights import packing, safetensors_file
from ..weights.downloads import with_word
from ..weights.files import load_file
from ..weights.keys import data_set, extract_state_dict
from .configs import find_config, load_config, merge_options
from .model_folder import PUBLISHED, write_model

if TYPE_CHECKING:
    from mmengine.config import Config

# What a trained model needs no more: beginnings of keys, and keys. The toolboxes have defaults.
_OF_TRAINING = ('train', 'val', 'optim', 'param', 'log')
_OF_RUNS = (
    *('auto_scale_lr', 'custom_hooks', 'default_hooks', 'env_cfg', 'launcher', 'load_from'),
    *('randomness', 'resume', 'vis_backends', 'work_dir'),
)


@with_word
def publish(
    checkpoint: Union[str, Path],
    output: Union[str, Path],
    *,
    config: Optional[str] = None,
    packed: bool = True,
    overwrite: bool = False,
    options: Optional[Mapping[str, Any]] = None,
    allow_new_keys: bool = False,
    trust_checkpoint: bool = False,
    allow_download: bool = False,
) -> Dict[str, Any]:
    """Write the weights of a checkpoint to a ``.safetensors`` file; print what that costs.

    Optimizer, schedules and counters stay behind. Of a training with a moving average, which
    mmengine saves in the place of the weights, that is what is written.

    Args:
        checkpoint: Of a training.
        output: A ``.safetensors`` file; or a folder, which then also holds the config and the
            names of the classes, and is all that ``demo``, ``test`` and ``export`` need.
        config: Name or path of the config that it was trained with. A file only names it, for
            whoever loads it.
        packed: Round large tensors to 8 bits, with a scale for each output channel; else
            all stay as they are.
        overwrite: Replace ``output`` if it exists.
        options: Settings of the config to change in the folder, such as where data lie: dotted
            keys to values.
        allow_new_keys: Let ``options`` set keys that nothing here reads.
        trust_checkpoint: Let the checkpoint execute code.
        allow_download: Let it be fetched from ``http://`` and ``https://``.

    Returns:
        ``bytes`` of the weights, ``numbers`` in all tensors, and ``error``: the largest relative
        L2 error of a tensor, with its ``key``.

    Raises:
        UsageError: The output cannot be written, or a folder has no config.
        CheckpointError: The checkpoint cannot be read.

    Example:
        >>> from tinyvim_mm.recipes import publish
        >>> publish('work_dirs/x/epoch_60.pth', 'x.safetensors')  # doctest: +SKIP
    """
    output = Path(output).expanduser()
    if output.suffix not in ('', safetensors_file.SUFFIX):
        raise UsageError(f'{output} must end in {safetensors_file.SUFFIX}, or be a folder')
    if output.exists() and not overwrite:
        raise UsageError(f'{output} exists; choose another name or give --overwrite')
    if not output.parent.is_dir():
        raise UsageError(f'the folder {output.parent} of the output does not exist; make it')
    if not output.suffix and not config:
        raise UsageError(f'{output} is to be a folder, in which a config belongs: name --config')
    if output.suffix and options:
        raise UsageError(f'--cfg-options belong to the config of a folder, and {output} is a file')
    try:
        content = load_file(str(checkpoint), trust=trust_checkpoint)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    state = dict(extract_state_dict(content, str(checkpoint)))
    state = {key: value for key, value in state.items() if not key.endswith('num_batches_tracked')}
    meta: Dict[str, Any] = {'tinyvim_mm': __version__}
    names = data_set(content)
    if names:
        meta['dataset_meta'] = names
    if output.suffix:
        if config:
            meta['config'] = config
        file = output
    else:
        cfg = load_config(find_config(str(config)))
        merge_options(cfg, options, str(config), allow_new_keys)
        file = write_model(output, _for_use(cfg), names.get('classes', ())) / PUBLISHED
    _write(file, state, meta, packed)
    found = _compare(state, packing.unpack(packing.pack(state)) if packed else state)
    found |= {'bytes': file.stat().st_size, 'numbers': sum(v.numel() for v in state.values())}
    print(
        f'{file}: {found["bytes"] / 1e6:.2f} MB for {found["numbers"]:,} numbers in {len(state)} '
        f'tensors; largest relative error of one: {found["error"]:.2%} ({found["key"]})'
    )
    return found


def _for_use(cfg: 'Config') -> 'Config':
    """A config without what only trainings read, and without the weights that it started from."""

    def without_start(node: Any) -> None:
        if isinstance(node, dict):
            if node.get('init_cfg'):
                node['init_cfg'] = None
            for child in node.values():
                without_start(child)

    for key in list(cfg):
        if key.startswith(_OF_TRAINING) or key in _OF_RUNS:
            del cfg._cfg_dict[key]
    without_start(cfg.model)
    return cfg


def _write(file: Path, state: Mapping[str, Tensor], meta: Dict[str, Any], packed: bool) -> None:
    partial = file.with_name(f'.{file.name}.part')
    try:
        safetensors_file.write(partial, _separate(state), meta, packed)
        os.replace(partial, file)
    except OSError as error:
        raise UsageError(f'{file} cannot be written: {error.strerror or error}') from error
    finally:
        partial.unlink(missing_ok=True)


def _separate(state: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """Tensors of which no two share their memory, as tied weights do."""
    return {key: value.clone() for key, value in state.items()}


def _compare(state: Mapping[str, Tensor], written: Mapping[str, Tensor]) -> Dict[str, Any]:
    error, worst = 0.0, next(iter(state))
    for key, value in state.items():
        if value.is_floating_point() and value.norm() > 0:
            found = float((written[key].float() - value.float()).norm() / value.float().norm())
            if found > error:
                error, worst = found, key
    return {'error': error, 'key': worst}
