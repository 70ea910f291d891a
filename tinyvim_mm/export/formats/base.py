"""What every format of exported files says of itself, and what the formats share."""

import abc
import contextlib
import io
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple

from ...core.environment import require
from ...core.errors import UsageError
from ..metadata import MetadataError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..metadata import Metadata
    from ..networks import ExportedNetwork

#: Normalized images to outputs, as numpy arrays.
Run = Callable[..., Sequence['np.ndarray']]


class Format(abc.ABC):
    """A kind of file that a network is written to by the converter of its runtime.

    Attributes:
        name: What ``--format`` takes.
        suffix: Of the file, or of the first where there are several.
        converters: Import names of the packages that :meth:`write` needs.
        runtimes: Import names of the packages that :meth:`load` needs.
        any_batch: Whether a file takes any number of images, or that of its example alone.
        one_size: Why a file has one height and width; empty if it may take any.
    """

    name: str
    suffix: str
    converters: Tuple[str, ...] = ()
    runtimes: Tuple[str, ...] = ()
    any_batch: bool = False
    one_size: str = 'its converter fixes every shape'

    def require(self) -> None:
        """See to it that the packages are there.

        Raises:
            MissingPackageError: One is not; the message names the cure.
        """
        runtimes = () if self.obstacle() else self.runtimes
        require(*dict.fromkeys(self.converters + runtimes), purpose=f'--format {self.name}')

    def obstacle(self) -> Optional[str]:
        """Why no file of this format can run on this machine; ``None`` if it can."""
        return None

    @abc.abstractmethod
    def write(
        self,
        network: 'ExportedNetwork',
        images: 'Tensor',
        path: Path,
        meta: 'Metadata',
        opset: Optional[int] = None,
    ) -> None:
        """Write a network with its metadata.

        Args:
            network: In evaluation mode.
            images: Example of its input, float32, ``(batch, 3, H, W)``.
            path: The file; others of a format with several lie beside it.
            meta: Goes into the file, or beside it; says whether height and width are dynamic.
            opset: Version of ONNX's operators where a format is, or is made of, ONNX.

        Raises:
            UsageError: The converter fails; the message says what it says.
        """

    @abc.abstractmethod
    def load(self, path: Path, threads: Optional[int] = None) -> Run:
        """A file as a function on arrays; ``threads`` is left to the runtime if ``None``."""

    @abc.abstractmethod
    def properties(self, path: Path) -> Mapping[str, str]:
        """What :meth:`.Metadata.to_props` gave when the file was written."""

    def inspect(self, path: Path) -> List[str]:
        """Look at a file beyond what running it shows; lines for the report.

        Raises:
            ExportMismatchError: It is not as it should be.
        """
        return []

    def files(self, path: Path) -> List[Path]:
        """All files that belong to one."""
        return [path]


@contextlib.contextmanager
def converting(what: str, cure: str) -> Iterator[None]:
    """Silence a converter, and say in one line what it fails with.

    Args:
        what: The converter.
        cure: A sentence: what may help.

    Raises:
        UsageError: The converter raised something.
    """
    from ..writer import quiet

    disabled = logging.root.manager.disable
    words = io.StringIO()
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(words), contextlib.redirect_stderr(words), quiet():
            yield
    except Exception as error:  # each converter raises many kinds
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f'{what} failed: {lines[0][:300]}. {cure}') from error
    finally:
        logging.disable(disabled)


def as_json(meta: 'Metadata') -> str:
    """Metadata as one text, for formats with one place for it."""
    return json.dumps(meta.to_props(), indent=1)


def from_json(text: str, origin: Path) -> Mapping[str, str]:
    """The properties of such a text.

    Raises:
        MetadataError: It is no JSON of strings.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError(f'{origin}: its metadata are no JSON ({error})') from error
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise MetadataError(f'{origin}: its metadata are no strings by name')
    return found


def fixed_batch(run: Run, batch: int) -> Run:
    """A runner that refuses any other number of images than ``batch``, in this project's words."""

    def checked(images: 'np.ndarray') -> Sequence['np.ndarray']:
        if len(images) != batch:
            raise ValueError(
                f'the file takes {batch} images at a time, got {len(images)}; export with '
                f'--batch {len(images)}'
            )
        return run(images)

    return checked
