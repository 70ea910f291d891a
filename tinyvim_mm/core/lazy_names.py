"""Names of a package that are imported when they are first used (PEP 562)."""

import importlib
from typing import Any, Callable, Dict, List, Mapping, Tuple

#: Module of each public name of the whole, but for the backbones, which have a catalogue.
PLACES: Dict[str, str] = {
    **dict.fromkeys(('scan_skipping', 'selective_scan', 'ss2d'), 'tinyvim_mm.ops'),
    **dict.fromkeys(('LaplaceMixer', 'SS2D'), 'tinyvim_mm.models.layers'),
    'UpsamplingFPN': 'tinyvim_mm.models.necks.upsampling_fpn',
    'DistillationClassifier': 'tinyvim_mm.models.heads.distillation_classifier',
    'DistillationHead': 'tinyvim_mm.models.heads.distillation_head',
    'NormClassifier': 'tinyvim_mm.models.heads.norm_classifier',
    'NormHead': 'tinyvim_mm.models.heads.norm_head',
    'SSDHead': 'tinyvim_mm.models.heads.ssd_head',
    'DistilledClassifier': 'tinyvim_mm.models.classifiers.distilled_classifier',
    'Imagenette': 'tinyvim_mm.datasets.imagenette',
    'CamVid': 'tinyvim_mm.datasets.camvid',
    'IoUPerClass': 'tinyvim_mm.datasets.iou',
    'CUDAGraphs': 'tinyvim_mm.models.cuda_graphs',
    'reparameterize': 'tinyvim_mm.models.reparameterization',
    **dict.fromkeys(('CPUAmpOptimWrapper', 'RecipeOptimWrapperConstructor'), 'tinyvim_mm.optim'),
    **dict.fromkeys(
        ('get_config', 'list_models', 'register_with_mmpretrain'), 'tinyvim_mm.recipes.zoo'
    ),
}


def lazy_names(
    package: str, places: Mapping[str, str], classes: Callable[[], Mapping[str, str]] = dict
) -> Tuple[Callable[[str], Any], Callable[[], List[str]]]:
    """Make the ``__getattr__`` and the ``__dir__`` of a package.

    ``places`` has the module of each public name; ``classes``, asked each time, gives those of
    further classes. An attribute whose module needs a package that is absent is a
    MissingPackageError, which says what to install.
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
                from . import environment  # looks at distributions, which takes its time

                environment.require(missing, purpose=f'{package}.{name}')
            raise

    return get, lambda: get('__all__')
