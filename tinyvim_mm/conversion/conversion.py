"""Conversion of a checkpoint from file to file, with its account."""

from pathlib import Path
from typing import Union

from ..core.errors import UsageError
from ..weights import safetensors_file
from ..weights.addresses import opened
from ..weights.downloads import with_word
from .layouts import convert_file
from .result import SUFFIXES, Conversion, save


@with_word
def convert_checkpoint(
    input: Union[str, Path],
    output: Union[str, Path],
    *,
    to: str = 'project',
    arch: str = 'auto',
    task: str = 'auto',
    keep_unknown: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
    trust_checkpoint: bool = False,
    allow_download: bool = False,
) -> Conversion:
    """Convert a released checkpoint into one of this project, or back; print what becomes of it.

    Args:
        input: ``.pth`` or ``.safetensors`` file, or an address; its layout is recognized.
        output: File to write; its name chooses the format.
        to: Layout of the output, ``'project'`` or ``'released'``.
        arch: Architecture, such as ``'s'``; ``'auto'`` recognizes it by its widths, and
            ``'custom'`` renames keys without looking at shapes.
        task: ``'classification'``, ``'detection'`` or ``'segmentation'``; ``'auto'``
            recognizes it by the heads.
        keep_unknown: Keep keys of no known part; without it they are an error.
        dry_run: Write nothing.
        overwrite: Replace ``output`` if it exists.
        trust_checkpoint: Let the checkpoint execute code.
        allow_download: Let checkpoints be fetched from ``http://`` and ``https://``.

    Raises:
        UsageError: Something about the two paths is wrong.
        CheckpointError: The file cannot be converted; the message says why.

    Example:
        >>> from tinyvim_mm.conversion import convert_checkpoint
        >>> convert_checkpoint('released.pth', 'tinyvim_s.pth')  # doctest: +SKIP
    """
    output = Path(output).expanduser()
    if not dry_run:
        _check_output(output, overwrite)
    try:
        options = {'to': to, 'arch': arch, 'task': task, 'keep_unknown': keep_unknown}
        with opened(str(input)) as file:
            conversion = convert_file(file, trust=trust_checkpoint, **options)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error
    print(conversion.account())
    print(conversion.summary())
    if conversion.source_layout == to:
        print(f'The input was in the {to} layout already: its keys stay.')
    if dry_run:
        print('Nothing was written (--dry-run).')
        return conversion
    try:
        save(conversion, output)
    except OSError as error:
        raise UsageError(f'{output} cannot be written: {error}') from error
    print(f'Written: {output}')
    return conversion


def _check_output(output: Path, overwrite: bool) -> None:
    """Find what would stop the writing before the input is read."""
    if output.suffix not in SUFFIXES:
        raise UsageError(f'{output} must end in one of {", ".join(SUFFIXES)}')
    if not output.parent.is_dir():
        raise UsageError(f'the folder {output.parent} of the output does not exist; make it')
    if output.exists() and not overwrite:
        raise UsageError(f'{output} exists; choose another name or give --overwrite')
    if output.suffix == safetensors_file.SUFFIX:
        try:
            safetensors_file.require()
        except safetensors_file.MissingError as error:
            raise UsageError(str(error)) from error
