"""Types of command-line options, with messages for what is no such thing."""

import argparse


def count(text: str) -> int:
    """An integer of at least 1.

    Raises:
        argparse.ArgumentTypeError: It is smaller.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is less than 1')
    return value
