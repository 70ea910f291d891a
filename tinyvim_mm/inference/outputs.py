"""Write pictures, videos and the predictions."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

import numpy as np

from ..core.errors import UsageError
from ..core.paths import is_utf8
from .sources import is_video

if TYPE_CHECKING:
    import cv2

PREDICTIONS = 'predictions.json'
LABEL_MAPS = 'label_maps'

# What OpenCV's own builds can always write, in .mp4 files.
_CODEC = 'mp4v'
#: Frames per second of a video that does not say.
_DEFAULT_RATE = 25.0


class Outputs:
    """The folder that the demo writes to, made if it does not exist; no source is overwritten.

    Attributes:
        facts: Of the run; written before the predictions.
        predictions: An entry for each picture or frame.

    Raises:
        UsageError: The folder cannot be written to, or is that of the pictures.
    """

    def __init__(self, folder: Path, sources: Sequence[Path]) -> None:
        self.folder = folder
        self.facts: Dict[str, Any] = {}
        self.predictions: List[Dict[str, Any]] = []
        self._written = Counter()
        self._video: Optional[cv2.VideoWriter] = None
        self._video_source: Optional[Path] = None
        if os.path.exists(folder) and not folder.is_dir():
            raise UsageError(f'--out {folder} is a file; name a folder')
        if not is_utf8(folder):
            raise UsageError(f'--out {str(folder)!a} is not UTF-8, which OpenCV needs; rename it')
        self._targets = _targets(folder, sources)
        # Unlike Path.resolve this takes links that lead to themselves.
        originals = set(map(os.path.realpath, sources))
        if originals.intersection(map(os.path.realpath, self._targets.values())):
            raise UsageError(f'--out {folder} would overwrite the input; name another folder')
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f'--out {folder} cannot be made: {error}') from error

    def add(
        self,
        source: Path,
        frame: Optional[int],
        drawn: np.ndarray,
        prediction: Dict[str, Any],
        label_map: Optional[np.ndarray] = None,
    ) -> None:
        """Take what belongs to one picture or frame.

        Args:
            source: Where it comes from.
            frame: Its number in a video.
            drawn: Picture with the predictions, ``(H, W, 3)``, in OpenCV's order.
            prediction: The same in plain values.
            label_map: ``(H, W)``, a class for each pixel; kept of pictures only.

        Raises:
            UsageError: It cannot be written.
        """
        place = {'file': source.name, **({} if frame is None else {'frame': frame})}
        self.predictions.append({**place, **prediction})
        if is_video(source):
            self._add_frame(source, drawn)
            return
        self._write(self._targets[source], drawn)
        self._written['picture'] += 1
        if label_map is not None:
            self._write(self.folder / LABEL_MAPS / f'{source.name}.png', label_map)
            self._written['label map'] += 1

    def close(self) -> None:
        """End the video, and write the predictions."""
        self._end_video()
        text = json.dumps({**self.facts, 'predictions': self.predictions}, indent=1)
        try:
            (self.folder / PREDICTIONS).write_text(text + '\n', encoding='utf-8')
        except OSError as error:
            raise UsageError(
                f'{self.folder / PREDICTIONS} cannot be written: {error.strerror or error}'
            ) from error

    def summary(self) -> str:
        """What was written, in words."""
        kinds = [(self._written[kind], kind) for kind in ('picture', 'video', 'label map')]
        counts = [f'{n} {kind}{"s" if n > 1 else ""}' for n, kind in kinds if n]
        objects = [len(found['objects']) for found in self.predictions if 'objects' in found]
        if objects:  # pictures without a box would look like a fault
            least = self.facts.get('score_threshold')
            counts.append(f'{sum(objects) or "no"} objects with scores above {least}')
        return ', '.join([*counts, PREDICTIONS])

    def _write(self, path: Path, image: np.ndarray) -> None:
        import cv2

        try:
            path.parent.mkdir(exist_ok=True)
            written = cv2.imwrite(str(path), image)
        except (OSError, cv2.error) as error:
            raise UsageError(f'{path} cannot be written: {error}') from error
        if not written:
            raise UsageError(f'{path} cannot be written: is the disk full, the folder writable?')

    def _add_frame(self, source: Path, image: np.ndarray) -> None:
        import cv2

        if self._video_source != source:
            self._end_video()
            target = self._targets[source]
            rate = cv2.VideoCapture(str(source)).get(cv2.CAP_PROP_FPS)
            size = (image.shape[1], image.shape[0])
            codec = cv2.VideoWriter_fourcc(*_CODEC)
            self._video = cv2.VideoWriter(
                str(target), codec, rate if rate > 0 else _DEFAULT_RATE, size
            )
            if not self._video.isOpened():
                raise UsageError(
                    f'{target} cannot be written: this OpenCV has no encoder for {_CODEC}, or the '
                    'folder is not writable'
                )
            self._video_source = source
            self._written['video'] += 1
        self._video.write(image)

    def _end_video(self) -> None:
        if self._video is not None:
            self._video.release()
        self._video = self._video_source = None


def _targets(folder: Path, sources: Sequence[Path]) -> Dict[Path, Path]:
    """The file to write for each source, no two the same: clip.avi may be beside clip.mov."""
    names: Dict[str, Path] = {}
    for source in sources:
        name = f'{source.stem}.mp4' if is_video(source) else source.name
        if source.suffix.lower() == '.pgm':  # what was drawn has colors, which it cannot hold
            name = f'{name}.png'
        while name in names:
            name += Path(name).suffix
        names[name] = source
    return {source: folder / name for name, source in names.items()}
