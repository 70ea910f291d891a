"""The sample photographs in each of the five layouts."""

import json
import shutil

import numpy as np
from PIL import Image

from tinyvim_mm.core.paths import SAMPLE_ADE, SAMPLE_COCO, SAMPLE_IMAGENET

NUMBER = 8


def _sample():
    content = json.loads((SAMPLE_COCO / 'annotations' / 'instances_train2017.json').read_text())
    images = content['images'][:NUMBER]
    names = {c['id']: c['name'] for c in content['categories']}
    kept = {image['id'] for image in images}
    objects = [a for a in content['annotations'] if a['image_id'] in kept and not a['iscrowd']]
    classes = sorted({names[a['category_id']] for a in objects})
    return images, objects, names, classes


def _copy(images, folder):
    folder.mkdir(parents=True)
    for image in images:
        shutil.copy(SAMPLE_COCO / 'train2017' / image['file_name'], folder)


def make_coco(root):
    images, objects, names, _ = _sample()
    _copy(images, root / 'images')
    used = {a['category_id'] for a in objects}
    categories = [dict(id=i, name=names[i]) for i in sorted(used)]
    content = dict(images=images, annotations=objects, categories=categories)
    (root / 'annotations.json').write_text(json.dumps(content))


def make_yolo(root):
    images, objects, names, classes = _sample()
    _copy(images, root / 'images')
    (root / 'labels').mkdir()
    for image in images:
        lines = []
        for item in objects:
            if item['image_id'] == image['id']:
                x, y, w, h = item['bbox']
                width, height = image['width'], image['height']
                place = (x + w / 2) / width, (y + h / 2) / height, w / width, h / height
                label = classes.index(names[item['category_id']])
                lines.append(' '.join(map(str, (label, *place))))
        (root / 'labels' / image['file_name']).with_suffix('.txt').write_text('\n'.join(lines))
    (root / 'data.yaml').write_text(f'names: {json.dumps(classes)}\n')


def make_voc(root):
    images, objects, names, _ = _sample()
    _copy(images, root / 'JPEGImages')
    (root / 'Annotations').mkdir()
    for image in images:
        boxes = ''
        for item in objects:
            if item['image_id'] == image['id']:
                x, y, w, h = item['bbox']
                corners = dict(xmin=x + 1, ymin=y + 1, xmax=x + w, ymax=y + h)
                box = ''.join(f'<{k}>{v}</{k}>' for k, v in corners.items())
                name = names[item['category_id']]
                boxes += f'<object><name>{name}</name><bndbox>{box}</bndbox></object>'
        size = f'<width>{image["width"]}</width><height>{image["height"]}</height>'
        text = f'<annotation><filename>{image["file_name"]}</filename><size>{size}</size>{boxes}'
        file = (root / 'Annotations' / image['file_name']).with_suffix('.xml')
        file.write_text(f'{text}</annotation>')


def make_maps(root):
    for kind in ('images', 'annotations'):
        (root / kind).mkdir(parents=True)
    for file in sorted((SAMPLE_ADE / 'images' / 'training').iterdir()):
        shutil.copy(file, root / 'images')
        labels = Image.open(SAMPLE_ADE / 'annotations' / 'training' / f'{file.stem}.png')
        values = np.where(np.asarray(labels) == 13, 1, 0).astype(np.uint8)  # people
        Image.fromarray(values).save(root / 'annotations' / f'{file.stem}.png')
    (root / 'classes.txt').write_text('background\nperson\n')


def make_folders(root):
    shutil.copytree(SAMPLE_IMAGENET / 'train', root)


MAKERS = {
    'coco': make_coco,
    'yolo': make_yolo,
    'voc': make_voc,
    'maps': make_maps,
    'folders': make_folders,
}
TASKS = dict(coco='detect', yolo='detect', voc='detect', maps='segment', folders='classify')
