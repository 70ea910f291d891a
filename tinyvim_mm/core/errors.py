"""The errors that a user of the tools can cure himself."""

from .environment import with_hint


class UsageError(Exception):
    """Something in the command, the config or the files is not as it should be.

    The message says what, where, and what to do; the tools print it without a
    traceback.
    """


class MachineError(UsageError):
    """What was asked for needs something that this machine, or this Python, has not.

    Args:
        message: What, and what to do; a hint at the doctor is added.
    """

    def __init__(self, message: str) -> None:
        super().__init__(with_hint(message))


class BadSampleError(UsageError):
    """One sample of a data set cannot be used.

    Args:
        message: The file and what is wrong with it. Of a message that torch's
            data loader made of this error in a worker process, traceback
            included, the original one is kept.
    """

    def __init__(self, message: str) -> None:
        if message.startswith('Caught BadSampleError in '):
            message = message.rpartition('BadSampleError: ')[2].rstrip()
        super().__init__(message)


class CheckpointError(RuntimeError):
    """A checkpoint file is damaged, unsafe, foreign, or does not fit the model."""
