"""The errors that a user can cure: commands print their message, without a traceback."""

from .environment import with_hint


class UsageError(Exception):
    """Something in the command, the config or the files is not as it should be.

    The message says what is wrong, where, and what to do.
    """


class MachineError(UsageError):
    """The machine, or its Python, lacks a GPU, a package, a device; names the doctor."""

    def __init__(self, message: str) -> None:
        super().__init__(with_hint(message))


class BadSampleError(UsageError):
    """One sample of a dataset cannot be used."""

    def __init__(self, message: str) -> None:
        # torch's data loader raises an error of a worker process again, under the same
        # class, with the worker's traceback as its message. The last line is the original.
        if message.startswith('Caught BadSampleError in '):
            message = message.rpartition('BadSampleError: ')[2].rstrip()
        super().__init__(message)


class CheckpointError(RuntimeError):
    """A checkpoint file is damaged, unsafe, foreign, or does not fit the model."""


class ExportMismatchError(RuntimeError):
    """An exported file computes something else than the network."""
