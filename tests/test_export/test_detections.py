"""What the runner does around a detector: pictures, masks and their encoding, older files."""

import cv2
import numpy as np
import pytest
import torch

from tinyvim_mm.core.paths import PROJECT_ROOT
from tinyvim_mm.export import masks
from tinyvim_mm.export.detectors.letterbox import Fit, Letterbox
from tinyvim_mm.export.metadata import PREFIX, Metadata, MetadataError
from tinyvim_mm.export.pictures import resize
from tinyvim_mm.toolboxes import rle

PHOTO = sorted((PROJECT_ROOT / 'data' / 'sample' / 'coco' / 'val2017').glob('*.jpg'))[0]
SIZES = [(800, 1067), (120, 160), (450, 601), (485, 646), (480, 640)]


@pytest.mark.parametrize('size', SIZES)
def test_pictures_are_resized_as_opencv_does_it(size):
    picture = cv2.imread(str(PHOTO))
    expected = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(resize(picture, size), expected)


@pytest.mark.parametrize('size', SIZES)
def test_pictures_are_resized_as_opencv_does_it_in_the_graph(size):
    picture = cv2.imread(str(PHOTO))
    expected = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    fit = Fit(size, size, False, 1, None, (0, 0, 0), (1, 1, 1))
    images, sizes, factors = Letterbox(fit)(torch.from_numpy(picture)[None])
    difference = np.abs(images[0].permute(1, 2, 0).numpy() - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4
    assert sizes.tolist() == [list(size)]
    assert factors.tolist() == pytest.approx([size[1] / 640, size[0] / 480])


def test_a_letterbox_of_any_size():
    pictures = torch.full((2, 30, 50, 3), 200, dtype=torch.uint8)
    fit = Fit(None, (100, 64), True, 32, None, (100, 100, 100), (50, 50, 50))
    images, sizes, factors = Letterbox(fit)(pictures)
    assert images.shape == (2, 3, 64, 128)
    assert sizes.tolist() == [[60, 100]] * 2
    assert (images[..., :60, :100] == 2).all()
    assert not images[..., 60:, :].any()
    assert not images[..., 100:].any()
    assert factors.tolist() == [2, 2]


def test_a_letterbox_that_is_filled_up_with_a_color():
    fit = Fit((64, 64), (64, 64), True, 32, (114, 114, 114), (100, 100, 100), (7, 7, 7))
    images, sizes, _ = Letterbox(fit)(torch.full((1, 64, 32, 3), 107, dtype=torch.uint8))
    assert sizes.tolist() == [[64, 64]]
    assert (images[..., :32] == 1).all()
    assert (images[..., 32:] == 2).all()


def test_masks_over_boxes_are_pasted_as_mmdet_does_it():
    module = pytest.importorskip('mmdet.models.roi_heads.mask_heads.fcn_mask_head')
    generator = torch.Generator().manual_seed(0)
    own = torch.rand(6, 28, 28, generator=generator)
    corners = torch.rand(6, 2, generator=generator) * 60
    boxes = torch.cat([corners, corners + torch.rand(6, 2, generator=generator) * 90], 1)
    boxes[0] = torch.tensor([-3.0, 2.0, 140.0, 99.0])
    expected, _ = module._do_paste_mask(own[:, None], boxes, 97, 131, skip_empty=False)
    found = masks.paste(own.numpy(), boxes.numpy(), (97, 131), 0.5)
    np.testing.assert_array_equal(found, (expected >= 0.5).numpy())
    assert found.any((1, 2)).all()


def test_masks_over_the_image_are_enlarged_in_two_steps():
    logits = torch.randn(3, 10, 12, generator=torch.Generator().manual_seed(0))
    once = torch.nn.functional.interpolate(logits[None], scale_factor=8, mode='bilinear')
    twice = torch.nn.functional.interpolate(once, size=(178, 214), mode='bilinear')
    expected = (twice[0, :, :150, :213].sigmoid() > 0.4).numpy()
    found = masks.enlarge(logits.numpy(), 8, (0.45, 0.45), (150, 213), 0.4)
    assert (found == expected).mean() > 0.9999


def test_the_encoding_of_masks_is_that_of_coco():
    coco = pytest.importorskip('pycocotools.mask')
    random = np.random.default_rng(0)
    some = [random.random((31, 45)) < share for share in (0, 0.02, 0.5, 0.97, 1)]
    large = np.zeros((300, 500), bool)
    large[20:250, 30:480] = True
    for mask in (*some, large):
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        found = rle.encode(mask)
        assert found['size'] == list(expected['size'])
        assert found['counts'] == expected['counts'].decode('ascii')


def test_metadata_of_the_first_format():
    meta = Metadata(
        *('c', 's', 'segmentor', 'labels', (8, 8), False, 64, (0.0,) * 3, (1.0,) * 3),
        *(None, 'bilinear', 32, ('a',), 'random', '0.1.0', 1),
    )
    later = ('preprocess', 'keep_ratio', 'padding', 'masks', 'mask_stride', 'mask_threshold')
    props = {k: v for k, v in meta.to_props().items() if k[len(PREFIX) :] not in later}
    assert Metadata.from_props(props, 'x.onnx') == meta
    with pytest.raises(MetadataError, match='lacks the metadata divisor'):
        Metadata.from_props({k: v for k, v in props.items() if 'divisor' not in k}, 'x.onnx')
