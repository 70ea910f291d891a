"""Names of a package that are imported when they are first used (PEP 562)."""

import importlib
from typing import Any, Callable, List, Mapping, Tuple

from . import environment


def lazy_names(
    package: str,
    places: Mapping[str, str],
    classes: Callable[[], Mapping[str, str]] = dict,
) -> Tuple[Callable[[str], Any], Callable[[], List[str]]]:
    """Make the ``__getattr__`` and the ``__dir__`` of a package.

    Args:
        package: Its name.
        places: The module of each public name.
        classes: Gives the modules of further names, those of classes; asked each time.

    Returns:
        What to call ``__getattr__`` and ``__dir__`` in the package. An attribute whose module
        needs a package that is absent is a MissingPackageError, which says what to install.
    """

    def get(name: str) -> Any:
        if name == '__all__':
            return sorted({*places, *classes()})
        place = places.get(name)
        # Python asks for submodules here, too, whose names are in lower case.
        if place is None and name[:1].isupper():
            place = classes().get(name)
        if place is None:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        try:
            return getattr(importlib.import_module(place), name)
        except ModuleNotFoundError as error:
            missing = (error.name or '').partition('.')[0]
            if missing != 'tinyvim_mm':
                environment.require(missing, purpose=f'{package}.{name}')
            raise

    return get, lambda: get('__all__')
