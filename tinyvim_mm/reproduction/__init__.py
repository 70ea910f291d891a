"""The paper's tables, published figures beside measured ones: ``tools/reproduce.py``.

:mod:`.tables` says as data which rows there are and what was published, and
:mod:`.mamba_tables` those of other Mamba networks, in the terms of :mod:`.schema`;
:mod:`.networks` builds them, :mod:`.cost`, :mod:`.throughput` and
:mod:`.accuracy` measure, :mod:`.output` writes. A new network is a line in
one of the former.
"""
