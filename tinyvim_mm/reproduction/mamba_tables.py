"""Detectors and segmentors of the other Mamba networks: data, no figures of this project.

Figures are those of each network's own paper: MobileMamba (arXiv 2411.15941), VMamba
(arXiv 2401.10166, v2 weights) and EfficientVMamba (arXiv 2403.09977).
"""

from dataclasses import replace
from typing import Optional, Tuple

from .schema import Row, Score, Table

_KEYS = {
    'box_ap': ('coco/bbox_mAP', 100),
    'mask_ap': ('coco/segm_mAP', 100),
    'miou': ('mIoU', 1),
}


def _row(
    name: str,
    config: str,
    params: float,
    gmacs: Optional[float] = None,
    size: Optional[Tuple[int, int]] = None,
    **results: float,
) -> Row:
    """The network of a recipe, in the form that is trained, and its published figures."""
    published = {'params': params, **results}
    if gmacs is not None:
        published['gmacs_all'] = gmacs
    scores = {metric: Score(config, *_KEYS[metric]) for metric in results}
    return Row(name, {'config': config}, published, scores, deployed=False, size=size)


def _variant(
    name: str,
    head: str,
    base: str,
    params: float,
    gmacs: Optional[float] = None,
    arch: Optional[str] = None,
    **results: float,
) -> Row:
    """A network without a recipe of its own, built by that of a sibling."""
    kind, _, size = name.partition('-')
    options = {'backbone.type': f'tinyvim_mm.{kind}', 'backbone.arch': arch or size.lower()}
    published = {'params': params, **results}
    if gmacs is not None:
        published['gmacs_all'] = gmacs
    network = {'config': base, 'options': options}
    return Row(f'{head}, {name}', network, published, deployed=False)


_MASK_RCNN = ('Mask R-CNN', 'mask_rcnn_vmamba_t_1x_coco')
_RETINANET = ('RetinaNet', 'retinanet_tinyvim_b_1x_coco')
_UPERNET = ('UPerNet', 'upernet_vmamba_t_160k_ade20k')

MAMBA_DETECTION = Table(
    'Other Mamba networks on COCO',
    'detection',
    (800, 1280),
    'Mask R-CNN, MobileMamba-B1',
    ('params', 'gmacs', 'gmacs_all', 'box_ap', 'mask_ap'),
    (
        _row(
            'Mask R-CNN, MobileMamba-B1',
            'mask_rcnn_mobilemamba_b1_1x_coco',
            38.0,
            178,
            box_ap=40.6,
            mask_ap=37.4,
        ),
        _row(
            'RetinaNet, MobileMamba-B1', 'retinanet_mobilemamba_b1_1x_coco', 27.1, 151, box_ap=39.6
        ),
        _row(
            'SSDLite at 320 pixels, MobileMamba-B1',
            'ssdlite_mobilemamba_b1_120e_coco',
            18.0,
            1.7,
            (320, 320),
            box_ap=24.0,
        ),
        _row(
            'SSDLite at 512 pixels, MobileMamba-B1',
            'ssdlite512_mobilemamba_b1_120e_coco',
            18.0,
            4.4,
            (512, 512),
            box_ap=29.5,
        ),
        _row(
            'Mask R-CNN, VMamba-T[s1l8]',
            'mask_rcnn_vmamba_t_1x_coco',
            50,
            271,
            box_ap=47.3,
            mask_ap=42.7,
        ),
        _variant('VMamba-T[s2l5]', *_MASK_RCNN, 50, 270, 't_s2l5', box_ap=47.4, mask_ap=42.7),
        _variant('VMamba-S', *_MASK_RCNN, 70, 384, box_ap=48.7, mask_ap=43.7),
        _variant('VMamba-B', *_MASK_RCNN, 108, 485, box_ap=49.2, mask_ap=44.1),
        _variant('EfficientVMamba-T', *_MASK_RCNN, 11, 60, box_ap=35.6, mask_ap=33.2),
        _row(
            'Mask R-CNN, EfficientVMamba-S',
            'mask_rcnn_efficientvmamba_s_1x_coco',
            31,
            197,
            box_ap=39.3,
            mask_ap=36.7,
        ),
        _row(
            'Mask R-CNN, EfficientVMamba-B',
            'mask_rcnn_efficientvmamba_b_1x_coco',
            53,
            252,
            box_ap=43.7,
            mask_ap=40.2,
        ),
        _variant('EfficientVMamba-T', *_RETINANET, 13, box_ap=37.5),
        _variant('EfficientVMamba-S', *_RETINANET, 19, box_ap=39.1),
        _variant('EfficientVMamba-B', *_RETINANET, 44, box_ap=42.8),
    ),
    'Published figures are of the papers of MobileMamba (arXiv 2411.15941), VMamba (2401.10166) '
    'and EfficientVMamba (2403.09977), all of 1x schedules but for SSDLite. Whole networks in the '
    'form that is trained, at 1280x800 pixels, Mask R-CNN with 1000 proposals and 100 detections. '
    'SSDLite is published with a third stage that its head does not use; here it is not built. '
    "What is published of EfficientVMamba-T's detectors and of RetinaNet with S does not fit "
    'standard heads; the recipe of the RetinaNets is not published. The GMACs '
    "published of MobileMamba's Mask R-CNN and RetinaNet both fit images of some 1150x800 pixels.",
)

MAMBA_SEGMENTATION = Table(
    'Other Mamba networks on ADE20K',
    'segmentation',
    (512, 512),
    'Semantic FPN, MobileMamba-B4',
    ('params', 'gmacs', 'gmacs_all', 'miou'),
    (
        _row(
            'Semantic FPN, MobileMamba-B4', 'fpn_mobilemamba_b4_160k_ade20k', 19.8, 5.6, miou=42.5
        ),
        _row(
            'DeepLabv3, MobileMamba-B4', 'deeplabv3_mobilemamba_b4_80k_ade20k', 23.4, 4.7, miou=36.6
        ),
        _row('PSPNet, MobileMamba-B4', 'pspnet_mobilemamba_b4_80k_ade20k', 20.5, 4.5, miou=36.9),
        _row(
            'UPerNet, VMamba-T[s1l8]',
            'upernet_vmamba_t_160k_ade20k',
            62,
            949,
            (512, 2048),
            miou=47.9,
        ),
        *(
            replace(row, size=(512, 2048))
            for row in (
                _variant('VMamba-T[s2l5]', *_UPERNET, 62, 948, 't_s2l5', miou=48.3),
                _variant('VMamba-S', *_UPERNET, 82, 1028, miou=50.6),
                _variant('VMamba-B', *_UPERNET, 122, 1170, miou=51.0),
                _variant('EfficientVMamba-T', *_UPERNET, 14, 230, miou=38.9),
                _variant('EfficientVMamba-S', *_UPERNET, 29, 505, miou=41.5),
                _variant('EfficientVMamba-B', *_UPERNET, 65, 930, miou=46.5),
            )
        ),
    ),
    'Published figures are of the papers of MobileMamba (arXiv 2411.15941), VMamba (2401.10166) '
    'and EfficientVMamba (2403.09977). Whole networks in the form that is trained, auxiliary heads '
    'included in the parameters; multiply-adds at 512x512 pixels, of UPerNet at 2048x512. What is '
    'published of UPerNet with EfficientVMamba-T and S does not fit the standard head.',
)
