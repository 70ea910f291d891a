"""Starts the set-up: ``python3 tools/setup_env``."""

import sys
from pathlib import Path

# Python puts the folder itself here; as a package it is found from the one above.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from setup_env.cli import main  # noqa: E402

if __name__ == '__main__':
    sys.exit(main())
