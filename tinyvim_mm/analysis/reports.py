"""What an analysis gives back, and the words that several share.

An analysis takes networks, names of pictures, and the pictures: RGB ``(H, W, 3)``, uint8, of one
size. It measures, draws, prints the most telling numbers, and returns a :class:`Report`.
"""

from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Optional, Sequence

from .networks import Network

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Report(NamedTuple):
    """The networks, figures by the names of their files, and the numbers in plain values."""

    networks: Sequence[Network]
    figures: Dict[str, 'Figure']
    facts: Dict[str, Any]


def describe(network: Network, names: Sequence[str]) -> str:
    """Network, weights and number of pictures, for titles."""
    return f'{network.name}, {network.described_weights}, {count(names)}'


def count(names: Sequence[str]) -> str:
    """Number of pictures, for titles."""
    return f'{len(names)} picture{"s" if len(names) > 1 else ""}'


def warning_of(networks: Sequence[Network]) -> Optional[str]:
    """What a reader must know before trusting a figure: that weights are random."""
    random = [network for network in networks if not network.weights]
    if not random:
        return None
    mixed = f' in {len(random)} of {len(networks)} panels' if len(random) < len(networks) else ''
    return f'RANDOM WEIGHTS{mixed}: the architecture alone, no trained network'
