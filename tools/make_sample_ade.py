"""Make ``data/sample/ade`` from the photographs and polygons in ``data/sample/coco``.

``python tools/make_sample_ade.py`` writes the same bytes again with the same versions of OpenCV
and its JPEG and PNG libraries; what the label maps are is told in ``data/sample/ade/README.md``.
"""

import argparse
import csv
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import cv2
import numpy as np
from pycocotools.coco import COCO

ROOT = Path(__file__).resolve().parents[1] / 'data' / 'sample'
COCO_ROOT, ADE_ROOT = ROOT / 'coco', ROOT / 'ade'

# Chosen for classes that cover much of the picture; those of the validation occur in the training.
PHOTOGRAPHS: Dict[str, Tuple[int, ...]] = {
    'training': (790, 116740, 125870, 159269, 177977, 401416, 433998, 491525, 516008, 565248),
    'validation': (119828, 160012, 184324, 205401, 397133, 520707),
}
COCO_SPLITS = {'training': 'train2017', 'validation': 'val2017'}
LONG_SIDE = 400
JPEG_QUALITY = 90

# ADE20K's number (1 to 150) and name of each class, and the categories of COCO that it contains.
# Categories that no class contains (cup, keyboard, umbrella, ...) become 0, "other".
CLASSES: Dict[Tuple[int, str], Tuple[str, ...]] = {
    (8, 'bed'): ('bed',),
    (13, 'person'): ('person',),
    (16, 'table'): ('dining table',),
    (18, 'plant'): ('potted plant',),
    (20, 'chair'): ('chair',),
    (21, 'car'): ('car',),
    (24, 'sofa'): ('couch',),
    (48, 'sink'): ('sink',),
    (51, 'refrigerator'): ('refrigerator',),
    (66, 'toilet'): ('toilet',),
    (68, 'book'): ('book',),
    (70, 'bench'): ('bench',),
    (75, 'computer'): ('laptop',),
    (77, 'boat'): ('boat',),
    (81, 'bus'): ('bus',),
    (84, 'truck'): ('truck',),
    (90, 'television receiver'): ('tv',),
    (91, 'airplane'): ('airplane',),
    (99, 'bottle'): ('bottle',),
    (116, 'bag'): ('backpack', 'handbag'),
    (117, 'minibike'): ('motorcycle',),
    (119, 'oven'): ('oven',),
    (120, 'ball'): ('sports ball',),
    (121, 'food'): (
        'banana',
        'apple',
        'sandwich',
        'orange',
        'broccoli',
        'carrot',
        'hot dog',
        'pizza',
        'donut',
        'cake',
    ),
    (125, 'microwave'): ('microwave',),
    (127, 'animal'): (
        'bird',
        'cat',
        'dog',
        'horse',
        'sheep',
        'cow',
        'elephant',
        'bear',
        'zebra',
        'giraffe',
    ),
    (128, 'bicycle'): ('bicycle',),
    (136, 'vase'): ('vase',),
    (137, 'traffic light'): ('traffic light',),
    (148, 'glass'): ('wine glass',),
    (149, 'clock'): ('clock',),
}
NUMBER_OF: Dict[str, int] = {
    category: number for (number, _), categories in CLASSES.items() for category in categories
}


def label_map(coco: COCO, image_id: int) -> np.ndarray:
    """Paint the objects of one photograph, the large ones first.

    Args:
        coco: Annotations.
        image_id: Of the photograph.

    Returns:
        ADE20K's numbers as uint8 of shape (H, W). Crowds, and objects without
        a class in ADE20K, are 0, also where they lie on another object.
    """
    info = coco.imgs[image_id]
    labels = np.zeros((info['height'], info['width']), np.uint8)
    objects = coco.loadAnns(coco.getAnnIds(image_id))
    for found in sorted(objects, key=lambda found: (-found['area'], found['id'])):
        category = coco.cats[found['category_id']]['name']
        number = 0 if found['iscrowd'] else NUMBER_OF.get(category, 0)
        labels[coco.annToMask(found).astype(bool)] = number
    return labels


def shrink(image: np.ndarray, interpolation: int) -> np.ndarray:
    """Scale an image down so that its longer side has :data:`LONG_SIDE` pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    size = (round(width * scale), round(height * scale))
    return cv2.resize(image, size, interpolation=interpolation)


def write(path: Path, image: np.ndarray, *options: int) -> None:
    """Save an image, creating its folder.

    Raises:
        OSError: OpenCV could not write it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image, options):
        raise OSError(f'OpenCV could not write {path}')


def write_split(split: str, out: Path) -> None:
    """Write photographs and label maps of ``'training'`` or ``'validation'``.

    Raises:
        FileNotFoundError: A photograph is missing.
        ValueError: A photograph has another size than its annotations.
    """
    coco_split = COCO_SPLITS[split]
    coco = COCO(COCO_ROOT / 'annotations' / f'instances_{coco_split}.json')
    for image_id in PHOTOGRAPHS[split]:
        source = COCO_ROOT / coco_split / coco.imgs[image_id]['file_name']
        image = cv2.imread(str(source))
        if image is None:
            raise FileNotFoundError(f'no photograph at {source}')
        labels = label_map(coco, image_id)
        if image.shape[:2] != labels.shape:
            raise ValueError(f'{source} is {image.shape[:2]}, its annotations {labels.shape}')
        photograph = out / 'images' / split / f'{source.stem}.jpg'
        write(photograph, shrink(image, cv2.INTER_AREA), cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        # mmseg wants the label maps under the names of the photographs.
        annotation = out / 'annotations' / split / f'{source.stem}.png'
        write(annotation, shrink(labels, cv2.INTER_NEAREST), cv2.IMWRITE_PNG_COMPRESSION, 9)


def write_attribution(out: Path) -> None:
    """Carry along the lines of COCO's attribution for the photographs that are used."""
    with open(COCO_ROOT / 'ATTRIBUTION.csv', newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        rows: List[dict] = list(reader)
        columns: Sequence[str] = reader.fieldnames or ()
    wanted = {
        (COCO_SPLITS[split].removesuffix('2017'), f'{image_id:012}.jpg'): split
        for split, ids in PHOTOGRAPHS.items()
        for image_id in ids
    }
    out.mkdir(parents=True, exist_ok=True)
    with open(out / 'ATTRIBUTION.csv', 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, columns, lineterminator='\n')
        writer.writeheader()
        for row in sorted(rows, key=lambda row: (row['split'], row['file_name'])):
            split = wanted.get((row['split'], row['file_name']))
            if split:
                writer.writerow({**row, 'split': split})


def main() -> None:
    """Entry of ``tools/make_sample_ade.py``."""
    parser = argparse.ArgumentParser(
        prog='tools/make_sample_ade.py',
        description='Make the ADE20K-like sample data from the COCO sample data.',
    )
    parser.add_argument('--out', type=Path, default=ADE_ROOT, help='folder to write to')
    out = parser.parse_args().out
    for split in PHOTOGRAPHS:
        write_split(split, out / 'ADEChallengeData2016')
    write_attribution(out)


if __name__ == '__main__':
    main()
