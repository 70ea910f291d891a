"""Detectors and segmentors of the other Mamba networks; the figures stand in the metafiles.

Published figures are those of each network's own paper: MobileMamba (arXiv 2411.15941), VMamba
(arXiv 2401.10166, v2 weights) and EfficientVMamba (arXiv 2403.09977).
"""

from dataclasses import replace
from typing import Any

from .schema import Row, Table, evaluated


def _row(name: str, config: str, *metrics: str, **settings: Any) -> Row:
    """The network of a recipe, in the form that is trained."""
    settings.update(also=('params', 'gmacs_all'), deployed=False)
    return evaluated(name, {'config': config}, config, *metrics, **settings)


def _ssdlite(side: int, config: str) -> Row:
    name = f'SSDLite at {side} pixels, MobileMamba-B1'
    return _row(name, config, 'box_ap', size=(side, side))


def _variant(head: str, base: str, kind: str, arch: str, name: str = '') -> Row:
    """A network without a recipe of its own, built by that of a sibling."""
    name = f'{head}, {kind}-{name or arch.upper()}'
    table = 'segmentation-mamba' if head == 'UPerNet' else 'detection-mamba'
    metrics = ('params', 'gmacs_all', 'box_ap', 'mask_ap', 'miou')
    options = {'backbone.type': f'tinyvim_mm.{kind}', 'backbone.arch': arch}
    network = {'config': base, 'options': options}
    return Row(name, network, deployed=False, entries={f'{table}: {name}': metrics})


_MASK_RCNN = ('Mask R-CNN', 'mask_rcnn_vmamba_t_1x_coco')
_RETINANET = ('RetinaNet', 'retinanet_tinyvim_b_1x_coco')
_UPERNET = ('UPerNet', 'upernet_vmamba_t_160k_ade20k')
_BOTH = ('box_ap', 'mask_ap')

MAMBA_DETECTION = Table(
    'Other Mamba networks on COCO',
    'detection',
    (800, 1280),
    'Mask R-CNN, MobileMamba-B1',
    ('params', 'gmacs', 'gmacs_all', *_BOTH),
    (
        _row('Mask R-CNN, MobileMamba-B1', 'mask_rcnn_mobilemamba_b1_1x_coco', *_BOTH),
        _row('RetinaNet, MobileMamba-B1', 'retinanet_mobilemamba_b1_1x_coco', 'box_ap'),
        _ssdlite(320, 'ssdlite_mobilemamba_b1_120e_coco'),
        _ssdlite(512, 'ssdlite512_mobilemamba_b1_120e_coco'),
        _row('Mask R-CNN, VMamba-T[s1l8]', 'mask_rcnn_vmamba_t_1x_coco', *_BOTH),
        _variant(*_MASK_RCNN, 'VMamba', 't_s2l5', 'T[s2l5]'),
        *(_variant(*_MASK_RCNN, 'VMamba', arch) for arch in 'sb'),
        _variant(*_MASK_RCNN, 'EfficientVMamba', 't'),
        _row('Mask R-CNN, EfficientVMamba-S', 'mask_rcnn_efficientvmamba_s_1x_coco', *_BOTH),
        _row('Mask R-CNN, EfficientVMamba-B', 'mask_rcnn_efficientvmamba_b_1x_coco', *_BOTH),
        *(_variant(*_RETINANET, 'EfficientVMamba', arch) for arch in 'tsb'),
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
        _row('Semantic FPN, MobileMamba-B4', 'fpn_mobilemamba_b4_160k_ade20k', 'miou'),
        _row('DeepLabv3, MobileMamba-B4', 'deeplabv3_mobilemamba_b4_80k_ade20k', 'miou'),
        _row('PSPNet, MobileMamba-B4', 'pspnet_mobilemamba_b4_80k_ade20k', 'miou'),
        *(
            replace(row, size=(512, 2048))
            for row in (
                _row('UPerNet, VMamba-T[s1l8]', 'upernet_vmamba_t_160k_ade20k', 'miou'),
                _variant(*_UPERNET, 'VMamba', 't_s2l5', 'T[s2l5]'),
                *(_variant(*_UPERNET, 'VMamba', arch) for arch in 'sb'),
                *(_variant(*_UPERNET, 'EfficientVMamba', arch) for arch in 'tsb'),
            )
        ),
    ),
    'Published figures are of the papers of MobileMamba (arXiv 2411.15941), VMamba (2401.10166) '
    'and EfficientVMamba (2403.09977). Whole networks in the form that is trained, auxiliary heads '
    'included in the parameters; multiply-adds at 512x512 pixels, of UPerNet at 2048x512. What is '
    'published of UPerNet with EfficientVMamba-T and S does not fit the standard head.',
)
