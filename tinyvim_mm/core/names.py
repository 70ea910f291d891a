"""Where the public names are defined, but for the backbones, which have a catalogue."""

from typing import Dict

#: Module of each name.
PLACES: Dict[str, str] = {
    **{name: 'tinyvim_mm.ops' for name in ('scan_skipping', 'selective_scan', 'ss2d')},
    'LaplaceMixer': 'tinyvim_mm.models.layers',
    'SS2D': 'tinyvim_mm.models.layers',
    'UpsamplingFPN': 'tinyvim_mm.models.necks.upsampling_fpn',
    'DistillationClassifier': 'tinyvim_mm.models.heads.distillation_classifier',
    'DistillationHead': 'tinyvim_mm.models.heads.distillation_head',
    'NormClassifier': 'tinyvim_mm.models.heads.norm_classifier',
    'NormHead': 'tinyvim_mm.models.heads.norm_head',
    'SSDHead': 'tinyvim_mm.models.heads.ssd_head',
    'DistilledClassifier': 'tinyvim_mm.models.classifiers.distilled_classifier',
    'CUDAGraphs': 'tinyvim_mm.models.cuda_graphs',
    'reparameterize': 'tinyvim_mm.models.reparameterization',
    'RecipeOptimWrapperConstructor': 'tinyvim_mm.optim',
    **{
        name: 'tinyvim_mm.recipes.zoo'
        for name in ('get_config', 'list_models', 'register_with_mmpretrain')
    },
}
