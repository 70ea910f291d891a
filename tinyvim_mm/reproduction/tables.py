"""What the paper publishes, and from what each row is built: data, no figures of this project.

Figures are those of TinyViM (ICCV 2025, arXiv 2411.17473), also for the
networks that it compares with, unless a table says otherwise. Throughput is of a
V100 at batch 2048 for classification, and as given for Mask R-CNN.
"""

from collections import UserDict
from functools import partial
from typing import Any, Dict, Tuple

from .mamba_tables import MAMBA_DETECTION, MAMBA_SEGMENTATION
from .schema import Row, Score, Table


def tinyvim(arch: str, **options: Any) -> Dict[str, Any]:
    """Config of a TinyViM."""
    return {'type': 'tinyvim_mm.TinyViM', 'arch': arch, **options}


def _top1(arch: str, *epochs: int) -> Dict[str, Score]:
    return {
        f'top1_{number}': Score(f'tinyvim_{arch}_{number}e_in1k', 'accuracy/top1')
        for number in epochs
    }


def _classifier(arch: str, params: float, gmacs: float, speed: int, a: float, b: float) -> Row:
    return Row(
        f'TinyViM-{arch.upper()}',
        tinyvim(arch),
        {
            'params': params,
            'gmacs': gmacs,
            'throughput': speed,
            'top1_300': a,
            'top1_1000': b,
        },
        _top1(arch, 300, 1000),
    )


def _peer(name: str, network: Dict[str, Any], **published: float) -> Row:
    return Row(name, network, published)


def _mamba(kind: str, arch: str) -> Dict[str, Any]:
    return {'type': f'tinyvim_mm.{kind}', 'arch': arch}


def _mobilemamba(arch: str, **published: float) -> Row:
    """Published figures are of its own paper; accuracies at the size of its recipe."""
    return Row(
        f'MobileMamba-{arch.upper()}',
        _mamba('MobileMamba', arch),
        published,
        {
            f'top1_{epochs}': Score(f'mobilemamba_{arch}_{epochs}e_in1k', 'accuracy/top1')
            for epochs in (300, 1000)
        },
    )


CLASSIFICATION = Table(
    'ImageNet-1K classification',
    'classification',
    (224, 224),
    'TinyViM-B',
    ('params', 'gmacs', 'gmacs_all', 'throughput', 'top1_300', 'top1_1000'),
    (
        _classifier('s', 5.6, 0.9, 2563, 79.2, 80.3),
        _classifier('b', 11.0, 1.5, 1851, 81.2, 82.1),
        _classifier('l', 31.7, 4.7, 843, 83.3, 83.6),
        *(
            Row(f'TinyViM-{a.upper()}, scan in plain PyTorch', tinyvim(a, ssm_backend='reference'))
            for a in 'sbl'
        ),
        _peer(
            'SwiftFormer-S',
            {'timm': 'swiftformer_s'},
            params=6.1,
            gmacs=1.0,
            throughput=2626,
            top1_300=78.5,
        ),
        _peer('SwiftFormer-L1', {'timm': 'swiftformer_l1'}),
        _peer(
            'MobileOne-S4',
            {'timm': 'mobileone_s4'},
            params=14.8,
            gmacs=3.0,
            throughput=1223,
            top1_300=79.4,
        ),
        _peer('RepViT-M1.1', {'timm': 'repvit_m1_1'}),
        _peer('EfficientFormer-L1', {'timm': 'efficientformer_l1'}),
        _peer('FastViT-SA24', {'timm': 'fastvit_sa24'}),
        _peer('PoolFormer-S36', {'timm': 'poolformer_s36'}),
        _peer(
            'EfficientVMamba-T',
            _mamba('EfficientVMamba', 't'),
            params=6.1,
            gmacs_all=1.0,
            throughput=1396,
            top1_300=76.5,
        ),
        _peer(
            'EfficientVMamba-S',
            _mamba('EfficientVMamba', 's'),
            params=11,
            gmacs_all=1.3,
            throughput=674,
            top1_300=78.7,
        ),
        _peer(
            'EfficientVMamba-B',
            _mamba('EfficientVMamba', 'b'),
            params=33,
            gmacs_all=4.0,
            throughput=580,
            top1_300=81.8,
        ),
        _peer(
            'VMamba-T',
            _mamba('VMamba', 't'),
            params=30,
            gmacs_all=4.9,
            throughput=383,
            top1_300=82.6,
        ),
        _mobilemamba('t2', params=8.8, top1_300=73.6, top1_1000=76.9),
        _mobilemamba('t4', params=14.2, top1_300=76.1, top1_1000=78.9),
        _mobilemamba('s6', params=15.0, gmacs_all=0.652, top1_300=78.0, top1_1000=80.7),
        _mobilemamba('b1', params=17.1, top1_300=79.9, top1_1000=82.2),
    ),
    'Parameters with one classifier of 1000 classes. Published GMACs of TinyViM leave the scan '
    'out, those of the other Mamba networks count it. Figures of MobileMamba are of its own paper '
    '(arXiv 2411.15941), whose accuracies are at 192 (T2, T4), 224 (S6) and 256 pixels (B1).',
)


def _detector(arch: str, **published: float) -> Row:
    config = f'mask_rcnn_tinyvim_{arch}_1x_coco'
    return Row(
        f'TinyViM-{arch.upper()}',
        tinyvim(arch),
        published,
        {
            'box_ap': Score(config, 'coco/bbox_mAP', 100),
            'mask_ap': Score(config, 'coco/segm_mAP', 100),
        },
    )


DETECTION = Table(
    'Mask R-CNN on COCO, 1x schedule',
    'detection',
    (800, 1333),
    'TinyViM-B',
    ('params', 'throughput', 'box_ap', 'mask_ap'),
    (
        _detector('s'),
        _detector('b', throughput=180, box_ap=42.3, mask_ap=38.7),
        _detector('l', throughput=119, box_ap=44.5, mask_ap=40.3),
        _peer(
            'SwiftFormer-L1', {'timm': 'swiftformer_l1'}, throughput=174, box_ap=41.2, mask_ap=38.1
        ),
        _peer('FastViT-SA24', {'timm': 'fastvit_sa24'}, throughput=93, box_ap=42.0, mask_ap=38.0),
        _peer(
            'EfficientVMamba-S',
            _mamba('EfficientVMamba', 's'),
            throughput=104,
            box_ap=39.3,
            mask_ap=36.7,
        ),
        _peer(
            'EfficientVMamba-B',
            _mamba('EfficientVMamba', 'b'),
            throughput=104,
            box_ap=43.4,
            mask_ap=39.5,
        ),
    ),
    'Throughput here is of the whole Mask R-CNN with 1000 proposals and 100 detections for every '
    'network. The paper does not say of what its figures are. Mask AP of L is 40.7 in the '
    "release's table.",
    base='mask_rcnn_tinyvim_b_1x_coco',
)


def _segmentor(arch: str, miou: float) -> Row:
    score = Score(f'fpn_tinyvim_{arch}_40k_ade20k', 'mIoU')
    return Row(f'TinyViM-{arch.upper()}', tinyvim(arch), {'miou': miou}, {'miou': score})


SEGMENTATION = Table(
    'Semantic FPN on ADE20K, 40k iterations',
    'segmentation',
    (512, 512),
    'TinyViM-B',
    ('params', 'throughput', 'miou'),
    (
        _segmentor('s', 38.9),
        _segmentor('b', 41.9),
        _segmentor('l', 44.1),
        _peer('EfficientFormer-L1', {'timm': 'efficientformer_l1'}, miou=38.9),
        _peer('SwiftFormer-L1', {'timm': 'swiftformer_l1'}, miou=41.1),
        _peer('PoolFormer-S36', {'timm': 'poolformer_s36'}, miou=42.0),
    ),
    "Whole Semantic FPN. mIoU of L is 44.2 in the release's table.",
    base='fpn_tinyvim_b_40k_ade20k',
)


def _ablation(title: str, reference: str, rows: Tuple[Row, ...], remark: str) -> Table:
    return Table(
        title,
        'classification',
        (224, 224),
        reference,
        ('params', 'gmacs', 'gmacs_all', 'throughput', 'top1_300'),
        rows,
        remark,
    )


FREQUENCY = _ablation(
    'Ablation, TinyViM-S: what is scanned',
    'low only',
    tuple(
        Row(
            name,
            tinyvim('s', scan_frequencies=key),
            {'top1_300': top1, 'throughput': speed},
            _top1('s', 300) if key == 'low' else {},
        )
        for name, key, top1, speed in (
            ('all', 'all', 79.1, 1673),
            ('low only', 'low', 79.0, 2574),
            ('high only', 'high', 78.6, 1377),
            ('high and low', 'both', 79.1, 1509),
        )
    ),
    'How the paper builds the variants is not published; those measured here are described in '
    '`LaplaceMixer`. Training them is up to you, with `model.backbone.scan_frequencies`.',
)

RAMP = _ablation(
    'Ablation, TinyViM-S: share of channels that is decoupled',
    '0.25, 0.5, 0.5, 0.75',
    (
        Row('0.5 in every stage', tinyvim('s', split_ratios=[0.5] * 4), {'top1_300': 79.0}),
        Row('0.25, 0.5, 0.5, 0.75', tinyvim('s'), {'top1_300': 79.2}, _top1('s', 300)),
    ),
    'The paper publishes no throughput here.',
)

KERNEL = _ablation(
    'Ablation, TinyViM-S: Laplacian kernel',
    '7, axial',
    tuple(
        Row(
            '3' if size == 3 else f'{size}, axial',
            tinyvim('s', laplacian_kernel=size),
            {'top1_300': top1, 'throughput': speed},
            _top1('s', 300) if size == 7 else {},
        )
        for size, top1, speed in (
            (3, 79.0, 2510),
            (5, 79.0, 2598),
            (7, 79.2, 2563),
            (9, 79.2, 2479),
        )
    ),
    'Training the others is up to you, with `model.backbone.laplacian_kernel`.',
)

REPARAM = Table(
    'Re-parameterisation',
    'classification',
    (224, 224),
    'TinyViM-S, deployed',
    ('params', 'gmacs', 'throughput', 'error', 'top1_gain'),
    tuple(
        Row(
            f'TinyViM-{arch.upper()}, {form}',
            tinyvim(arch),
            {'top1_gain': gain} if gain is not None and form == 'deployed' else {},
            deployed=form == 'deployed',
        )
        for arch, gain in (('s', 0.0), ('b', None), ('l', 0.2))
        for form in ('training form', 'deployed')
    ),
    'The training form has two classifiers. Both forms compute the same function; the published '
    'gain is between networks trained with the extra branches and without, and no recipe for the '
    'latter is published.',
)


def _backbones(size: Tuple[int, int], *batches: int) -> Table:
    """All networks without classifiers, for the claims about Mamba networks' speed."""
    from ..models.catalogue import find_network, network_names  # loads torch

    networks = [find_network(name) for name in network_names()]
    return Table(
        f'Backbones with scans, {size[0]}x{size[1]}',
        'backbone',
        size,
        'TinyViM-B',
        ('params', 'gmacs', 'gmacs_all', 'latency', 'throughput'),
        tuple(Row(cls.title(arch), _mamba(cls.__name__, arch)) for cls, arch in networks),
        'Without classifiers, with the outputs of all stages. MobileMamba begins at stride 16, the '
        'others at 4; its B1, B2 and B4 are one network, whose weights differ.',
        batches=batches,
    )


class _Tables(UserDict):
    """What is a function gives its table when it is asked for."""

    def __getitem__(self, name: str) -> Table:
        table = self.data[name]
        return table() if callable(table) else table


#: By the name that ``tools/reproduce.py`` takes.
TABLES = _Tables(
    {
        'classification': CLASSIFICATION,
        'detection': DETECTION,
        'segmentation': SEGMENTATION,
        'detection-mamba': MAMBA_DETECTION,
        'segmentation-mamba': MAMBA_SEGMENTATION,
        'ablation-frequency': FREQUENCY,
        'ablation-ramp': RAMP,
        'ablation-kernel': KERNEL,
        'reparam': REPARAM,
        'backbones-224x224': partial(_backbones, (224, 224), 1, 16),
        'backbones-800x1344': partial(_backbones, (800, 1344), 1, 2),
    }
)
