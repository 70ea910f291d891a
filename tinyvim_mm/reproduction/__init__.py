"""The paper's tables, published figures beside measured ones.

:func:`reproduce` does it all. :mod:`.tables` says which rows there are and from which entries of
the metafiles their published figures come, :mod:`.mamba_tables` those of other Mamba networks, in
the terms of :mod:`.schema`; :mod:`.networks` builds them, :mod:`.measurement` and
:mod:`.throughput` measure, :mod:`.store` keeps, :mod:`.output` writes. A new network is a line in
one of the former, and its figures in ``configs/peers.yml``.
"""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .reproduction import reproduce

__all__ = ['reproduce']

__getattr__, __dir__ = lazy_names(__name__, {'reproduce': f'{__name__}.reproduction'})
