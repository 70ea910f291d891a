"""Noise in the layouts of Imagenette and CamVid, and configs of tiny networks that read it."""

import numpy as np
from PIL import Image

TINY = (
    "_delete_=True, type='tinyvim_mm.TinyViM', "
    'arch=dict(embed_dims=[8, 12, 16, 20], depths=[1, 1, 1, 1])'
)


def pictures(folder, number, seed, size=(64, 48)):
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for index in range(number):
        pixels = random.integers(0, 255, (*size[::-1], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f'{index}.jpg')


def write_data(root):
    """Write both under a folder, and return it."""
    numbers = (
        *('n01440764', 'n02102040', 'n02979186', 'n03000684', 'n03028079'),
        *('n03394916', 'n03417042', 'n03425413', 'n03445777', 'n03888257'),
    )
    for split, number in (('train', 2), ('val', 1)):
        for index, name in enumerate(numbers):
            pictures(root / 'imagenette' / split / name, number, index)
    for split in ('train', 'val', 'test'):
        pictures(root / 'camvid' / 'images' / split, 4, 1)
        labels = root / 'camvid' / 'annotations' / split
        labels.mkdir(parents=True)
        for index in range(4):
            # Classes 0 to 3, and void.
            maps = np.repeat([0, 1, 2, 3, 11, 11], 8)[:, None].repeat(64, 1).astype(np.uint8)
            Image.fromarray(maps).save(labels / f'{index}.png')
    return root


def write_configs(folder):
    """Write `classes.py` and `streets.py`."""
    (folder / 'classes.py').write_text(
        "_base_ = 'tinyvim_mm::benchmarks/tinyvim_s_15e_imagenette.py'\n"
        f'backbone = dict({TINY}, out_indices=(3,), normalize_outputs=False)\n'
        'model = dict(backbone=backbone, head=dict(in_channels=20))\n'
        'train_dataloader = dict(batch_size=10, num_workers=0, persistent_workers=False)\n'
        'val_dataloader = dict(num_workers=0, persistent_workers=False)\n'
        'train_cfg = dict(max_epochs=2, val_interval=1)\n'
        'param_scheduler = []\n'
    )
    (folder / 'streets.py').write_text(
        "_base_ = 'tinyvim_mm::benchmarks/fpn_tinyvim_s_camvid.py'\n"
        f'model = dict(backbone=dict({TINY}), neck=dict(in_channels=[8, 12, 16, 20]))\n'
        'workers = dict(num_workers=0, persistent_workers=False)\n'
        'train_dataloader = dict(batch_size=2, **workers)\n'
        'val_dataloader = dict(**workers)\n'
        'test_dataloader = dict(**workers)\n'
        'train_cfg = dict(max_iters=2, val_interval=2)\n'
        'default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))\n'
        'param_scheduler = []\n'
    )
