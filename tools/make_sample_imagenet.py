#!/usr/bin/env python
"""Make ``data/sample/imagenet`` from ``data/sample/coco``: crops around annotated objects.

The result is laid out as ImageNet (``train/CLASS/*.jpg``, ``val/CLASS/*.jpg``), with an
``ATTRIBUTION.csv`` that carries the author's page and the license of each photograph on to its
crops.
"""

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from PIL import Image

SAMPLE = Path(__file__).resolve().parents[1] / 'data' / 'sample'
CLASSES = ('cup', 'dog', 'laptop', 'oven', 'person')
#: Most crops of a class, by split.
MOST = {'train': 4, 'val': 3}
#: Smallest side of an object, in pixels.
SMALLEST = 45
#: Smallest share of its box that an object fills.
FILLED = 0.3
#: Share of an object's box that is added on each side, if the photograph has it.
CONTEXT = 0.1
LARGEST_SIDE = 224
QUALITY = 88

Box = Tuple[int, int, int, int]


def find_objects(split: str) -> Iterator[Tuple[str, str, int, Box]]:
    """``(class, photograph, annotation, box)``, the largest objects of each class first."""
    file = SAMPLE / 'coco' / 'annotations' / f'instances_{split}2017.json'
    content = json.loads(file.read_text(encoding='utf-8'))
    names = {category['id']: category['name'] for category in content['categories']}
    images = {image['id']: image for image in content['images']}
    found: Dict[str, List] = {name: [] for name in CLASSES}
    for annotation in content['annotations']:
        name = names[annotation['category_id']]
        x, y, width, height = annotation['bbox']
        if name not in found or annotation['iscrowd'] or min(width, height) < SMALLEST:
            continue
        if annotation['area'] < FILLED * width * height:
            continue  # hidden by something else, or not compact
        image = images[annotation['image_id']]
        dx, dy = CONTEXT * width, CONTEXT * height
        box = (
            max(0, round(x - dx)),
            max(0, round(y - dy)),
            min(image['width'], round(x + width + dx)),
            min(image['height'], round(y + height + dy)),
        )
        found[name].append((width * height, image['file_name'], annotation['id'], box))
    for name, objects in found.items():
        taken: List[str] = []
        # One of each photograph: others of the same class look alike.
        for _, photograph, identity, box in sorted(objects, reverse=True):
            if len(taken) < MOST[split] and photograph not in taken:
                taken.append(photograph)
                yield name, photograph, identity, box


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    target = SAMPLE / 'imagenet'
    with open(SAMPLE / 'coco' / 'ATTRIBUTION.csv', encoding='utf-8', newline='') as file:
        sources = {(row['split'], row['file_name']): row for row in csv.DictReader(file)}
    rows = []
    for split in ('train', 'val'):
        shutil.rmtree(target / split, ignore_errors=True)
        for name, photograph, identity, box in find_objects(split):
            crop = (
                Image.open(SAMPLE / 'coco' / f'{split}2017' / photograph).convert('RGB').crop(box)
            )
            crop.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BICUBIC)
            path = target / split / name / f'{Path(photograph).stem}_{identity}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            crop.save(path, quality=QUALITY)
            source = sources[split, photograph]
            rows.append(
                {
                    'file': path.relative_to(target).as_posix(),
                    'source': f'coco/{split}2017/{photograph}',
                    'crop_left_top_right_bottom': ' '.join(map(str, box)),
                    **{
                        key: source[key]
                        for key in ('license_name', 'license_url', 'flickr_url', 'coco_url')
                    },
                }
            )
    with open(target / 'ATTRIBUTION.csv', 'w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, rows[0], lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    print(f'{len(rows)} crops in {target}')


if __name__ == '__main__':
    main()
