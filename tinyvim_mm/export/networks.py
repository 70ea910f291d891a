"""Networks as exported: one tensor in, tensors out, built from a config."""

import contextlib
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conversion.keys import recognize
from ..core.errors import UsageError
from ..models.backbones.base import StagedBackbone
from ..weights.files import load_file
from ..weights.keys import data_set
from ..weights.load import Policy, load_into

if TYPE_CHECKING:
    from mmengine.config import Config

    from .detectors.detector import ExportedDetector
    from .detectors.letterbox import Fit

#: What can be exported of the configs of each toolbox; the first is the default.
PARTS = {
    'mmpretrain': ('classifier', 'backbone'),
    'mmseg': ('segmentor', 'backbone', 'neck'),
    'mmdet': ('detector', 'neck', 'backbone'),
}
#: What a part can give; the first is the default.
OUTPUTS = {
    'classifier': ('logits', 'probabilities', 'labels'),
    'segmentor': ('labels', 'logits'),
    'backbone': ('features',),
    'neck': ('features',),
    'detector': ('detections',),
}
#: Height and width for which a part is exported by default, see :func:`input_size`.
INPUT_SIZES = {'mmpretrain': (224, 224), 'mmseg': (512, 512), 'mmdet': (800, 1344)}


class ExportedNetwork(nn.Module):
    """A part of a model, from normalized images to its outputs; but whole detectors.

    Args:
        model: The whole model, or the backbone for ``part='backbone'``.
        part: A key of :data:`OUTPUTS`.
        output: One of its values.

    Attributes:
        input_names: Of the inputs in a file.
    """

    input_names = ('images',)

    def __init__(self, model: nn.Module, part: str, output: str) -> None:
        super().__init__()
        self.model = model
        self.part = part
        self.output = output

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Normalized images, ``(batch, 3, H, W)``, to feature maps or one other tensor.

        That is logits or probabilities ``(batch, classes)``, with ``(..., H, W)`` for a
        segmentor, or labels without the axis of the classes.
        """
        if self.part == 'backbone':
            return tuple(self.model(images))
        if self.part == 'neck':
            return tuple(self.model.neck(self.model.backbone(images)))
        logits = self.logits(images)
        if self.output == 'labels':
            return (logits.argmax(1),)
        return (logits.softmax(1) if self.output == 'probabilities' else logits,)

    def logits(self, images: Tensor) -> Tensor:
        """Logits of a classifier or segmentor, the latter's at the size of the images."""
        if self.part == 'classifier':
            return self.model.head(self.model.backbone(images))
        head = self.model.decode_head
        logits = head(self.model.extract_feat(images))
        return F.interpolate(
            logits, size=images.shape[2:], mode='bilinear', align_corners=head.align_corners
        )

    def output_names(self, count: int) -> List[str]:
        """Names of the outputs in a file."""
        if self.output == 'features':
            return [f'feature{i}' for i in range(count)]
        return [self.output]

    def axes(self, outputs: Sequence[Tensor], dynamic_size: bool) -> Dict[str, Dict[int, str]]:
        """Names of the dynamic dimensions of inputs and outputs."""
        axes = {'images': {0: 'batch'}}
        if dynamic_size:
            axes['images'].update({2: 'height', 3: 'width'})
        for name, tensor in zip(self.output_names(len(outputs)), outputs, strict=True):
            axes[name] = {0: 'batch'}
            if dynamic_size and (last := tensor.dim() - 1) > 1:
                axes[name].update({last - 1: f'{name}_height', last: f'{name}_width'})
        return axes

    def example(self, batch: int, size: Tuple[int, int], seed: int = 0) -> Tuple[Tensor, ...]:
        """Inputs of noise."""
        return (random_images(batch, size, seed),)


#: What is written to a file.
Exported = Union[ExportedNetwork, 'ExportedDetector']


def make_network(
    model: nn.Module,
    part: str,
    output: str,
    dynamic_size: bool = False,
    fit: Optional['Fit'] = None,
) -> Exported:
    """A part of a model as it is exported, in evaluation mode.

    Args:
        model: See :class:`ExportedNetwork`.
        part: A key of :data:`OUTPUTS`.
        output: One of its values.
        dynamic_size: Whether the graph of a detector has to work for other sizes.
        fit: How a detector makes images of pictures; ``None`` if it takes images.

    Raises:
        UsageError: The detector has parts that cannot be exported.
    """
    network: Exported
    if part == 'detector':
        from .detectors.detector import ExportedDetector  # loads torchvision

        network = ExportedDetector(model, dynamic_size, fit)
    else:
        network = ExportedNetwork(model, part, output)
    return network.eval().requires_grad_(False)


def build(
    cfg: 'Config', part: str, output: str, checkpoint: Optional[str] = None, trust: bool = False
) -> Tuple[Exported, Tuple[str, ...]]:
    """Build a network, see :func:`build_model` and :func:`make_network`, and its class names."""
    model, classes = build_model(cfg, part, checkpoint, trust)
    return make_network(model, part, output), classes


def build_model(
    cfg: 'Config', part: str, checkpoint: Optional[str] = None, trust: bool = False
) -> Tuple[nn.Module, Tuple[str, ...]]:
    """Build what a config describes and fill it.

    Args:
        cfg: Config of a toolbox.
        part: A key of :data:`OUTPUTS`.
        checkpoint: File with the weights of the whole model, or for ``part='backbone'``
            anything that its ``init_cfg`` takes; ``None`` leaves all weights random.
        trust: See :func:`tinyvim_mm.weights.files.load_file`.

    Returns:
        The whole model, or its backbone, and the class names, empty if unknown.

    Raises:
        CheckpointError: The checkpoint does not fit.
        UsageError: The options do not fit the config.
    """
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    model_cfg = cfg.model.copy()
    if 'data_preprocessor' in cfg and 'data_preprocessor' not in model_cfg:
        model_cfg['data_preprocessor'] = cfg.data_preprocessor
    model_cfg['backbone']['init_cfg'] = None
    if part == 'backbone':
        if cfg.default_scope == 'mmpretrain':  # a classifier takes the last map only
            model_cfg['backbone'].pop('out_indices', None)
        model = MODELS.build(model_cfg['backbone'])
        if checkpoint and trust:
            raise UsageError(
                '--trust-checkpoint does not go with --part backbone; make a safe file with '
                'tools/convert_checkpoint.py --trust-checkpoint first'
            )
    else:
        model = MODELS.build(model_cfg)
    content: Any = {}
    if checkpoint is not None and part == 'backbone':
        model.load_pretrained(checkpoint)
    elif checkpoint is not None:
        content = load_file(checkpoint, trust=trust)
        policy = Policy(
            name='the model of the config',
            recognize=partial(recognize, model),
            cure='Name the config that it was trained with',
        )
        load_into(model, content, policy)
    return model.eval(), () if part in ('backbone', 'neck') else _classes(cfg, content)


def input_size(toolbox: str, model: nn.Module) -> Tuple[int, int]:
    """Height and width for which a model of a toolbox's config is exported by default.

    A classifier of this project is exported for the size that its architecture is tested with.
    """
    backbone = getattr(model, 'backbone', model)
    if toolbox == 'mmpretrain' and isinstance(backbone, StagedBackbone):
        return (backbone.spec.image_size,) * 2
    return INPUT_SIZES[toolbox]


def _classes(cfg: 'Config', checkpoint: Any) -> Tuple[str, ...]:
    """Class names of a checkpoint, or else of the dataset of the config's tests."""
    classes = data_set(checkpoint).get('classes')
    if not classes:
        dataset = cfg.get('test_dataloader', {}).get('dataset', {})
        classes = (dataset.get('metainfo') or {}).get('classes')
        if not classes and 'type' in dataset:
            scope = cfg.default_scope
            import_module(f'{scope}.utils').register_all_modules(init_default_scope=False)
            found = import_module(f'{scope}.registry').DATASETS.get(dataset['type'])
            classes = getattr(found, 'METAINFO', {}).get('classes')
    return tuple(map(str, classes or ()))


@contextlib.contextmanager
def exportable_upsampling(model: nn.Module) -> Iterator[None]:
    """Let mmseg's ``Upsample`` layers scale by their factor.

    They turn the size of the example into Python numbers, which a tracer takes for
    constants: at any other size the file would be wrong.
    """
    layers = [
        module
        for module in model.modules()
        if type(module).__name__ == 'Upsample' and getattr(module, 'scale_factor', None)
    ]
    for layer in layers:
        settings = {key: getattr(layer, key) for key in ('scale_factor', 'mode', 'align_corners')}
        layer.forward = partial(F.interpolate, **settings)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def random_images(batch: int, size: Tuple[int, int], seed: int = 0) -> Tensor:
    """Images with the statistics of normalized ones: ``(batch, 3, *size)``."""
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(seed))
