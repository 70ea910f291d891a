"""Picture files with something wrong or unusual about them."""

import io

import numpy as np
from PIL import Image

SIZE = (128, 96)


def _saved(image, kind='JPEG', **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photograph(size=SIZE):
    """A smooth picture of (width, height), so that pixels can be compared after JPEG."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    channels = [255 * x / max(1, width - 1), 255 * y / max(1, height - 1), 100 + 0 * x]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def rotated():
    """With an EXIF orientation that asks for a quarter turn."""
    exif = Image.Exif()
    exif[274] = 6
    return _saved(photograph(), exif=exif)


def with_small_picture_inside(jpeg):
    """A JPEG with a complete JPEG in its header, as cameras write it."""
    inner = _saved(photograph((16, 12)))
    segment = b'\xff\xe1' + (2 + len(inner)).to_bytes(2, 'big') + inner
    return jpeg[:2] + segment + jpeg[2:]


JPEG, PNG = _saved(photograph()), _saved(photograph(), 'PNG')

#: Content of the file, and what has to be said about it; None for a missing file.
BROKEN = {
    'missing': (None, 'there is no such file'),
    'empty': (b'', 'the file is empty'),
    'noise': (bytes(range(256)) * 4, 'it is damaged or no picture'),
    'jpeg-cut-off': (JPEG[: len(JPEG) // 2], 'the JPEG is cut off'),
    'jpeg-end-missing': (JPEG[:-2], 'the JPEG is cut off'),
    'jpeg-end-zeroed': (JPEG[:-10] + bytes(10), 'the JPEG is cut off'),
    'jpeg-only-small-picture-ends': (
        with_small_picture_inside(JPEG)[:-20],
        'the JPEG is cut off',
    ),
    'png-cut-off': (PNG[: len(PNG) // 2], 'the PNG is cut off'),
    'png-chunk-of-2-gb': (PNG[:33] + b'\x7f' + PNG[34:], 'the PNG is cut off or damaged'),
    'png-damaged': (PNG[:200] + bytes(100) + PNG[300:], 'it is damaged or no picture'),
}
#: Content that is read as a picture of SIZE in three channels.
UNUSUAL = {
    'gray': _saved(photograph().convert('L')),
    'rgba': _saved(photograph().convert('RGBA'), 'PNG'),
    '16-bit': _saved(
        Image.fromarray(np.asarray(photograph().convert('L')).astype(np.uint16) * 257), 'PNG'
    ),
    'cmyk': _saved(photograph().convert('CMYK')),
    'palette': _saved(photograph().convert('P'), 'PNG'),
    'jpeg-with-a-tail': JPEG + b'written by a camera',
    'jpeg-with-a-small-picture': with_small_picture_inside(JPEG),
}
EXTREME = {'1x1': (1, 1), '10000x10': (10000, 10), '10x10000': (10, 10000)}
