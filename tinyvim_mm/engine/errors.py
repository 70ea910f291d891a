"""The error that a user of the tools can cure himself."""


class UsageError(Exception):
    """Something in the command, the config or the files is not as it should be.

    The message says what, where, and what to do; the tools print it without a
    traceback.
    """
