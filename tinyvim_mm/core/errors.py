"""What ends a command, and its exit code; commands print the message, without a traceback."""

from .environment import with_hint

#: Something unforeseen, with its traceback; also the answer "no" of a command that checks.
UNFORESEEN = 1
#: Something that the user can cure.
CURABLE = 2
#: Done, but part of the work failed.
PARTLY_FAILED = 3
#: Ended by a signal, whose number is added, as shells count it; by Ctrl-C, and by SIGTERM.
SIGNALED = 128
INTERRUPTED, TERMINATED = SIGNALED + 2, SIGNALED + 15


class UsageError(Exception):
    """Something in the command, the config or the files is not as it should be.

    The message says what is wrong, where, and what to do.
    """

    exit_code = CURABLE


class PartlyFailedError(UsageError):
    """The command came to its end, and part of the work is missing; raised when all is done."""

    exit_code = PARTLY_FAILED


class Interruption(KeyboardInterrupt):  # so that no `except Exception` stops it
    """The user or the system ended the command; the message says where, and how to go on.

    Args:
        message: At most two lines.
        exit_code: :data:`INTERRUPTED` or :data:`TERMINATED`.
    """

    def __init__(self, message: str, exit_code: int = INTERRUPTED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


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

    exit_code = CURABLE


class ExportMismatchError(RuntimeError):
    """An exported file computes something else than the network."""

    exit_code = UNFORESEEN
