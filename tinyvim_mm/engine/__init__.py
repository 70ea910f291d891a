"""What stands behind ``tools/``: configs, data checks, the sample run, reports.

The modules load mmengine late, so that a missing package can be named, with
its cure, instead of ending in a traceback of the first import.
"""

from .errors import UsageError

__all__ = ['UsageError']
