"""A whole detector as one network."""

from typing import Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from .family import detections_of, masks_of
from .letterbox import Fit, Letterbox


class ExportedDetector(nn.Module):
    """From images, or pictures, to detections; what is exported as the part ``detector``.

    Args:
        model: A detector of mmdet.
        dynamic_size: Whether a graph made of it has to work for other sizes.
        fit: How pictures become images; ``None`` if the network takes images.

    Attributes:
        input_names: Of the inputs in a file.

    Raises:
        UsageError: The detector has parts that compute something else than is known here.
    """

    part = 'detector'
    output = 'detections'

    def __init__(self, model: nn.Module, dynamic_size: bool, fit: Optional[Fit] = None) -> None:
        super().__init__()
        self.model = model
        self.detections = detections_of(model, dynamic_size)
        self.letterbox = Letterbox(fit) if fit else None
        self.input_names = ('pictures',) if fit else ('images', 'sizes')

    def forward(self, images: Tensor, sizes: Optional[Tensor] = None) -> Tuple[Tensor, ...]:
        """Detections of each image, the best first; rows without one have the label -1.

        Args:
            images: Normalized, ``(batch, 3, H, W)``, float32; with a ``fit`` RGB pictures
                ``(batch, height, width, 3)``, uint8.
            sizes: Height and width of the picture in each image, ``(batch, 2)``, float32: what
                is right of it or below is filled up. With a ``fit`` there is no such argument.

        Returns:
            Boxes ``(batch, n, 4)``, float32: corners ``x1, y1, x2, y2`` in pixels of the image,
            or of the picture; scores ``(batch, n)``, float32; labels ``(batch, n)``, int64; and
            masks, if the detector gives any, see :attr:`..metadata.Metadata.masks`.
        """
        factors = None
        if self.letterbox:
            images, sizes, factors = self.letterbox(images)
        features = self.model.extract_feat(images)
        boxes, *others = self.detections(features, sizes)
        if factors is not None:
            boxes = boxes / factors.repeat(2)
        return (boxes, *others)

    @property
    def detection_threshold(self) -> Tensor:
        """The buffer with the score that detections are above."""
        owner = getattr(self.detections, 'candidates', self.detections)
        return owner.score_threshold

    def output_names(self, count: int) -> List[str]:
        """Names of the outputs in a file."""
        return ['boxes', 'scores', 'labels', 'masks'][:count]

    def axes(self, outputs: Sequence[Tensor], dynamic_size: bool) -> Dict[str, Dict[int, str]]:
        """Names of the dynamic dimensions of inputs and outputs."""
        if self.letterbox:
            axes = {'pictures': {0: 'batch', 1: 'height', 2: 'width'}}
        else:
            axes = {'images': {0: 'batch'}, 'sizes': {0: 'batch'}}
            if dynamic_size:
                axes['images'].update({2: 'height', 3: 'width'})
        names = self.output_names(len(outputs))
        axes.update({name: {0: 'batch'} for name in names})
        if dynamic_size and 'masks' in names and masks_of(self.model)[0] == 'image':
            axes['masks'].update({2: 'mask_height', 3: 'mask_width'})
        return axes

    def example(self, batch: int, size: Tuple[int, int], seed: int = 0) -> Tuple[Tensor, ...]:
        """Inputs of noise; pictures and images have the height and width of ``size``."""
        generator = torch.Generator().manual_seed(seed)
        if self.letterbox:
            shape = (batch, *size, 3)
            return (torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),)
        sizes = torch.tensor([size], dtype=torch.float32).repeat(batch, 1)
        sizes[:, 1] -= 5  # a margin, so that what is clipped to it is seen
        return torch.randn(batch, 3, *size, generator=generator), sizes
