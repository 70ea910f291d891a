"""Run exported classifiers, segmentors and detectors on pictures, without PyTorch.

Needs numpy, Pillow and onnxruntime.

Example:
    >>> from tinyvim_mm.export.runtime import Runner
    >>> runner = Runner('tinyvim_s.onnx')
    >>> for label, name, score in runner.classify('photo.jpg', top=3):
    ...     print(f'{score:.3f} {name}')
    >>> label_map = Runner('fpn_tinyvim_s.onnx').segment('photo.jpg')
    >>> boxes, scores, labels, masks = Runner('mask_rcnn.onnx').detect('photo.jpg', 0.3)
"""

from pathlib import Path
from typing import List, Optional, Tuple, Union

import numpy as np
from PIL import Image

from ..core.environment import MissingPackageError
from ..core.paths import is_utf8
from .detection import Detections, detect
from .metadata import ExportedFileError, Metadata
from .pictures import ImageLike, open_image

_CPU = ('CPUExecutionProvider',)

_IMAGES = ('tensor(float)', 4)
# Types and dimensions of a file's inputs, for no detector and for one, without and with
# preprocessing.
_INPUTS = {
    (False, False): (_IMAGES,),
    (False, True): (_IMAGES,),
    (True, False): (_IMAGES, ('tensor(float)', 2)),
    (True, True): (('tensor(uint8)', 4),),
}


class Runner:
    """An exported file in an ONNX Runtime session.

    Args:
        path: The ``.onnx`` file.
        threads: Of the session; ``None`` leaves it to ONNX Runtime.
        providers: Execution providers, best first.

    Attributes:
        metadata: What the file says about itself.

    Raises:
        FileNotFoundError: There is no such file.
        MissingPackageError: onnxruntime is missing.
        ExportedFileError: ONNX Runtime cannot load the file, or it is not of this project.
    """

    def __init__(
        self,
        path: Union[str, Path],
        threads: Optional[int] = None,
        providers: Tuple[str, ...] = _CPU,
    ) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f'there is no file {path} (seen from {Path.cwd()})')
        self.session = make_session(path, threads, providers)
        props = self.session.get_modelmeta().custom_metadata_map
        self.metadata = Metadata.from_props(props, str(path))
        inputs = self.session.get_inputs()
        wanted = _INPUTS[self.metadata.part == 'detector', self.metadata.preprocess]
        if tuple((i.type, len(i.shape)) for i in inputs) != wanted:
            got = ', '.join(f'{i.name} {i.type} {i.shape}' for i in inputs)[:200]
            raise ExportedFileError(f'{path} takes no images, but: {got or "nothing"}')
        self._path, self._inputs = path, [entry.name for entry in inputs]

    def __call__(self, images: np.ndarray) -> List[np.ndarray]:
        """The outputs of the network for normalized images, ``(batch, 3, H, W)``, float32.

        A detector takes more, see :meth:`run`; errors are those of it, too.
        """
        return self.run(images)

    def run(self, images: np.ndarray, *others: np.ndarray) -> List[np.ndarray]:
        """The outputs of the network for all of its inputs.

        Args:
            images: Normalized, ``(batch, 3, H, W)``, float32; of a detector that does this itself
                pictures ``(batch, H, W, 3)``, uint8.
            others: Of another detector height and width of the picture in each image,
                ``(batch, 2)``, float32: what is not filled up.

        Raises:
            ValueError: The file was exported for another size.
            ExportedFileError: The file is not what it says of itself.
        """
        meta = self.metadata
        if not meta.preprocess:
            self.check_size(*images.shape[2:])
        try:
            return self.session.run(None, dict(zip(self._inputs, (images, *others), strict=True)))
        except Exception as error:
            # Classes of ONNX Runtime's own, which share no base.
            if type(error).__module__.partition('.')[0] != 'onnxruntime':
                raise
            raise ExportedFileError(f'{self._path} cannot be run: {_first_line(error)}') from error

    def check_size(self, height: int, width: int) -> None:
        """Raise a :class:`ValueError` unless the network can compute images of a size."""
        meta = self.metadata
        if not meta.dynamic_size and (height, width) != meta.input_size:
            raise ValueError(
                f'the file takes images of {meta.input_size[0]} x {meta.input_size[1]} pixels, '
                f'got {height} x {width}; export with --dynamic-size, or with --input-size'
            )
        if height * width > meta.max_pixels:
            raise ValueError(
                f'{height} x {width} pixels are more than the {meta.max_pixels} that a file of '
                f'dynamic size can scan; export with --input-size {height} {width}'
            )

    def classify(self, image: ImageLike, top: int = 5) -> List[Tuple[int, str, float]]:
        """The likeliest classes of a picture as ``(class, name, probability)``, best first.

        Without names in the file the name is the number.

        Raises:
            ValueError: The file holds no classifier.
        """
        self._require('classifier')
        values = self(self.preprocess(image))[0][0].astype(np.float64)
        if self.metadata.output == 'logits':
            values = np.exp(values - values.max())
            values /= values.sum()
        best = np.argsort(-values)[:top]
        return [(int(i), self.name(int(i)), float(values[i])) for i in best]

    def segment(self, image: ImageLike) -> np.ndarray:
        """The class of every pixel of a picture, ``(H, W)`` at its size, int64.

        Raises:
            ValueError: The file holds no segmentor.
        """
        self._require('segmentor')
        picture = open_image(image)
        (height, width), inputs = self._fit(picture)
        labels = self(inputs)[0][0]
        if labels.ndim == 3:
            labels = labels.argmax(0)
        labels = Image.fromarray(labels[:height, :width].astype(np.int32))
        labels = labels.resize(picture.size, Image.Resampling.NEAREST)
        return np.asarray(labels).astype(np.int64)

    def detect(self, image: ImageLike, score_thr: float = 0.3) -> Detections:
        """The objects of a picture with scores above ``score_thr``, best first.

        Scores are above the config's ``score_thr``, 0.05 as a rule, in any case.

        Raises:
            ValueError: The file holds no detector.
        """
        self._require('detector')
        return detect(self, np.asarray(open_image(image)), score_thr)

    def name(self, label: int) -> str:
        """Name of a class."""
        return self.metadata.classes[label] if self.metadata.classes else str(label)

    def preprocess(self, image: ImageLike) -> np.ndarray:
        """A picture resized, cropped or padded, and normalized, as in the config's tests.

        It is ``(1, 3, H, W)``, float32.
        """
        picture = open_image(image)
        if self.metadata.part != 'classifier':
            return self._fit(picture)[1]
        height, width = self.metadata.input_size
        # The config's short side, in proportion to the crop.
        short = self.metadata.resize[0] if self.metadata.resize else min(height, width)
        factor = max(short, height, width) / min(picture.size)
        if height != width:
            factor = max(factor, height / picture.height, width / picture.width)
        picture = self._resize(picture, factor)
        left, upper = (picture.width - width) // 2, (picture.height - height) // 2
        return self._normalize(picture.crop((left, upper, left + width, upper + height)))

    def _fit(self, picture: Image.Image) -> Tuple[Tuple[int, int], np.ndarray]:
        """Height and width that the picture takes of the input, and the input.

        The picture is resized with kept ratio; a fixed size is filled up with zeros.
        """
        meta = self.metadata
        if meta.dynamic_size:
            long, short = meta.resize if meta.resize else (2048, 512)
            factor = min(long / max(picture.size), short / min(picture.size))
            inputs = self._normalize(self._resize(picture, factor, meta.divisor))
            return inputs.shape[2:], inputs
        height, width = meta.input_size
        resized = self._resize(picture, min(height / picture.height, width / picture.width))
        columns, rows = min(resized.width, width), min(resized.height, height)
        inputs = self._normalize(resized.crop((0, 0, columns, rows)))
        padding = ((0, 0), (0, 0), (0, height - rows), (0, width - columns))
        return (rows, columns), np.pad(inputs, padding)

    def _resize(self, picture: Image.Image, factor: float, divisor: int = 1) -> Image.Image:
        size = [max(1, int(side * factor + 0.5)) for side in picture.size]
        size = [-(-side // divisor) * divisor for side in size]  # up, as mmseg's ResizeToMultiple
        return picture.resize(size, Image.Resampling[self.metadata.interpolation.upper()])

    def _normalize(self, picture: Image.Image) -> np.ndarray:
        values = np.asarray(picture, np.float32)
        values = (values - np.float32(self.metadata.mean)) / np.float32(self.metadata.std)
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None])

    def _require(self, part: str) -> None:
        if self.metadata.part != part:
            raise ValueError(
                f'the file holds the {self.metadata.part} of {self.metadata.config}, not a {part}; '
                f'export with --part {part}'
            )


def make_session(
    path: Union[str, Path], threads: Optional[int] = None, providers: Tuple[str, ...] = _CPU
):
    """Session of ONNX Runtime for a file; arguments and errors as of :class:`Runner`."""
    try:
        import onnxruntime
    except ImportError as error:
        cure = 'exported files run in ONNX Runtime: pip install onnxruntime'
        raise MissingPackageError(cure) from error
    if not is_utf8(path):
        raise ExportedFileError(f'{str(path)!a} is a name that ONNX Runtime cannot take; rename it')
    options = onnxruntime.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:
        if type(error).__module__.partition('.')[0] != 'onnxruntime':
            raise
        raise ExportedFileError(
            f'{path} is damaged, or no file that ONNX Runtime can load: {_first_line(error)}'
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
