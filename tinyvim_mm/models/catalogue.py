"""The backbones by name: the one table in which everything else finds them.

Reading the table loads no network; asking it for a class loads that class.
"""

import pkgutil
from collections import UserDict
from typing import TYPE_CHECKING, Any, Dict, List, Tuple, Type

if TYPE_CHECKING:  # the names that type checkers see
    from .backbones.base import StagedBackbone
    from .backbones.efficient_vmamba import EfficientVMamba as EfficientVMamba
    from .backbones.mobilemamba import MobileMamba as MobileMamba
    from .backbones.tinyvim import TinyViM as TinyViM
    from .backbones.vmamba import VMamba as VMamba

_HERE = 'tinyvim_mm.models.backbones'


class _Backbones(UserDict):
    """Filled with the places of classes; gives the classes, which it imports when asked."""

    def __getitem__(self, family: str) -> Type['StagedBackbone']:
        return pkgutil.resolve_name(self.data[family])


#: By the beginning of their networks' names, ``'module:Class'``; a new backbone is one more line.
BACKBONES = _Backbones(
    {
        'tinyvim': f'{_HERE}.tinyvim:TinyViM',
        'mobilemamba': f'{_HERE}.mobilemamba:MobileMamba',
        'efficientvmamba': f'{_HERE}.efficient_vmamba:EfficientVMamba',
        'vmamba': f'{_HERE}.vmamba:VMamba',
    }
)


def backbone_modules() -> Dict[str, str]:
    """Module of each backbone by the name of its class; loads none."""
    pairs = (place.split(':') for place in BACKBONES.data.values())
    return {name: module for module, name in pairs}


def network_names() -> List[str]:
    """Every named architecture of every backbone, such as ``tinyvim_s``."""
    return [f'{family}_{arch}' for family, cls in BACKBONES.items() for arch in cls.arch_settings]


def find_network(name: str) -> Tuple[Type['StagedBackbone'], str]:
    """Class and architecture of one of :func:`network_names`.

    Raises:
        ValueError: There is no such network.
    """
    family, _, arch = name.partition('_')
    cls = BACKBONES.get(family)
    if cls is None or arch not in cls.arch_settings:
        raise ValueError(f'{name!r} is no network; there are {", ".join(network_names())}')
    return cls, arch


def build_network(name: str, **options: Any) -> 'StagedBackbone':
    """Build one of :func:`network_names` with random weights; ``options`` go to its class."""
    cls, arch = find_network(name)
    return cls(arch, **options)
