"""Where things lie in a clone."""

from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
CONFIG_ROOT = PROJECT_ROOT / 'configs'
SAMPLE_COCO = PROJECT_ROOT / 'data' / 'sample' / 'coco'


def shown(path: Path) -> str:
    """A path as a user wants to read it: relative to the current folder if it lies inside."""
    path = Path(path)
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
