"""The backbones by name: the one table that tools look them up in."""

from typing import Any, Dict, List, Tuple, Type

from .backbones import EfficientVMamba, MobileMamba, TinyViM, VMamba
from .backbones.base import StagedBackbone

#: By the beginning of their networks' names; a new backbone is one more entry.
BACKBONES: Dict[str, Type[StagedBackbone]] = {
    'tinyvim': TinyViM,
    'mobilemamba': MobileMamba,
    'efficientvmamba': EfficientVMamba,
    'vmamba': VMamba,
}


def network_names() -> List[str]:
    """Every named architecture of every backbone, such as ``tinyvim_s``."""
    return [f'{family}_{arch}' for family, cls in BACKBONES.items() for arch in cls.arch_settings]


def find_network(name: str) -> Tuple[Type[StagedBackbone], str]:
    """Class and architecture of a name.

    Args:
        name: One of :func:`network_names`.

    Raises:
        ValueError: It is none.
    """
    family, _, arch = name.partition('_')
    cls = BACKBONES.get(family)
    if cls is None or arch not in cls.arch_settings:
        raise ValueError(f'{name!r} is no network; there are {", ".join(network_names())}')
    return cls, arch


def build_network(name: str, **options: Any) -> StagedBackbone:
    """Build a backbone with random weights.

    Args:
        name: One of :func:`network_names`.
        **options: Arguments of its class.

    Raises:
        ValueError: There is no such network, or an option is out of range.
    """
    cls, arch = find_network(name)
    return cls(arch, **options)
