"""The paper's tables, published figures beside measured ones: ``tools/reproduce.py``.

:mod:`.tables` says which rows there are and from which entries of the metafiles their published
figures come, :mod:`.mamba_tables` those of other Mamba networks, in the terms of :mod:`.schema`;
:mod:`.networks` builds them, :mod:`.throughput`, :mod:`.accuracy` and
:mod:`tinyvim_mm.measuring.cost` measure, :mod:`.output` writes. A new network is a line in one of
the former, and its figures in ``configs/peers.yml``.
"""
