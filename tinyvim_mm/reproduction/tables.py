"""The rows of the tables, and from what each is built; the figures stand in the metafiles.

Published figures are those of TinyViM's paper (ICCV 2025, arXiv 2411.17473), also for the
networks that it compares with (``configs/peers.yml``), unless a table says otherwise. Throughput
is of a V100 at batch 2048 for classification, and as given for Mask R-CNN.
"""

from collections import UserDict
from functools import partial
from typing import Any, Dict, Sequence, Tuple

from .mamba_tables import MAMBA_DETECTION, MAMBA_SEGMENTATION
from .schema import Row, Table, evaluated, scores

_COSTS = ('params', 'gmacs', 'gmacs_all', 'throughput')


def _mamba(kind: str, arch: str, **options: Any) -> Dict[str, Any]:
    return {'type': f'tinyvim_mm.{kind}', 'arch': arch, **options}


#: Config of a TinyViM of an architecture.
tinyvim = partial(_mamba, 'TinyViM')


def _classifier(kind: str, arch: str) -> Row:
    """A network with recipes of 300 and 1000 epochs."""
    short, long = (f'{kind.lower()}_{arch}_{epochs}e_in1k' for epochs in (300, 1000))
    return Row(
        f'{kind}-{arch.upper()}',
        _mamba(kind, arch),
        scores={**scores(short, 'top1_300'), **scores(long, 'top1_1000')},
        entries={short: (*_COSTS, 'top1_300'), long: ('top1_1000',)},
    )


def _peer(table: str, name: str, network: Dict[str, Any], **own: Sequence[str]) -> Row:
    """A network that TinyViM's paper compares with.

    ``own`` are configs of this project, to metrics whose figures stand in their own entries: the
    paper repeats them.
    """
    metrics = (*_COSTS, 'top1_300', 'box_ap', 'mask_ap', 'miou')
    entries = {f'{table}: {name}': metrics, **{key: tuple(v) for key, v in own.items()}}
    return Row(name, network, entries=entries)


def _compared(kind: str, arch: str) -> Row:
    """Another Mamba network, whose accuracy TinyViM's paper takes from its own paper."""
    config = f'{kind.lower()}_{arch}_300e_in1k'
    network = _mamba(kind, arch)
    return _peer('classification', f'{kind}-{arch.upper()}', network, **{config: ('top1_300',)})


CLASSIFICATION = Table(
    'ImageNet-1K classification',
    'classification',
    (224, 224),
    'TinyViM-B',
    (*_COSTS, 'top1_300', 'top1_1000'),
    (
        *(_classifier('TinyViM', arch) for arch in 'sbl'),
        *(
            Row(f'TinyViM-{a.upper()}, scan in plain PyTorch', tinyvim(a, ssm_backend='reference'))
            for a in 'sbl'
        ),
        _peer('classification', 'SwiftFormer-S', {'timm': 'swiftformer_s'}),
        Row('SwiftFormer-L1', {'timm': 'swiftformer_l1'}),
        _peer('classification', 'MobileOne-S4', {'timm': 'mobileone_s4'}),
        Row('RepViT-M1.1', {'timm': 'repvit_m1_1'}),
        Row('EfficientFormer-L1', {'timm': 'efficientformer_l1'}),
        Row('FastViT-SA24', {'timm': 'fastvit_sa24'}),
        Row('PoolFormer-S36', {'timm': 'poolformer_s36'}),
        *(_compared('EfficientVMamba', arch) for arch in 'tsb'),
        _compared('VMamba', 't'),
        *(_classifier('MobileMamba', arch) for arch in ('t2', 't4', 's6', 'b1')),
    ),
    'Parameters with one classifier of 1000 classes. Published GMACs of TinyViM leave the scan '
    'out, those of the other Mamba networks count it. Figures of MobileMamba are of its own paper '
    '(arXiv 2411.15941), whose accuracies are at 192 (T2, T4), 224 (S6) and 256 pixels (B1).',
)


def _dense(arch: str, config: str, *metrics: str) -> Row:
    """TinyViM with the neck and head of a recipe."""
    name = f'TinyViM-{arch.upper()}'
    return evaluated(name, tinyvim(arch), config, *metrics, also=('throughput',))


_REPEATED = {'mask_rcnn_efficientvmamba_s_1x_coco': ('box_ap', 'mask_ap')}

DETECTION = Table(
    'Mask R-CNN on COCO, 1x schedule',
    'detection',
    (800, 1333),
    'TinyViM-B',
    ('params', 'throughput', 'box_ap', 'mask_ap'),
    (
        *(_dense(a, f'mask_rcnn_tinyvim_{a}_1x_coco', 'box_ap', 'mask_ap') for a in 'sbl'),
        _peer('detection', 'SwiftFormer-L1', {'timm': 'swiftformer_l1'}),
        _peer('detection', 'FastViT-SA24', {'timm': 'fastvit_sa24'}),
        _peer('detection', 'EfficientVMamba-S', _mamba('EfficientVMamba', 's'), **_REPEATED),
        # Its APs differ from those of its own paper.
        _peer('detection', 'EfficientVMamba-B', _mamba('EfficientVMamba', 'b')),
    ),
    'Throughput here is of the whole Mask R-CNN with 1000 proposals and 100 detections for every '
    'network. The paper does not say of what its figures are.',
    base='mask_rcnn_tinyvim_b_1x_coco',
)

SEGMENTATION = Table(
    'Semantic FPN on ADE20K, 40k iterations',
    'segmentation',
    (512, 512),
    'TinyViM-B',
    ('params', 'throughput', 'miou'),
    (
        *(_dense(arch, f'fpn_tinyvim_{arch}_40k_ade20k', 'miou') for arch in 'sbl'),
        _peer('segmentation', 'EfficientFormer-L1', {'timm': 'efficientformer_l1'}),
        _peer('segmentation', 'SwiftFormer-L1', {'timm': 'swiftformer_l1'}),
        _peer('segmentation', 'PoolFormer-S36', {'timm': 'poolformer_s36'}),
    ),
    'Whole Semantic FPN.',
    base='fpn_tinyvim_b_40k_ade20k',
)


def _ablation(title: str, reference: str, rows: Tuple[Row, ...], remark: str) -> Table:
    return Table(
        title, 'classification', (224, 224), reference, (*_COSTS, 'top1_300'), rows, remark
    )


#: TinyViM-S as the main table has it, which the ablations start from.
_START = 'tinyvim_s_300e_in1k'

#: Rows of the ablation, and the option of the network.
_SCANNED = {'all': 'all', 'low only': 'low', 'high only': 'high', 'high and low': 'both'}

FREQUENCY = _ablation(
    'Ablation, TinyViM-S: what is scanned',
    'low only',
    tuple(
        Row(
            name,
            tinyvim('s', scan_frequencies=key),
            scores=scores(_START, 'top1_300') if key == 'low' else {},
            entries={f'ablation-frequency: {name}': ('top1_300', 'throughput')},
        )
        for name, key in _SCANNED.items()
    ),
    'How the paper builds the variants is not published; those measured here are described in '
    '`LaplaceMixer`. Training them is up to you, with `model.backbone.scan_frequencies`.',
)

RAMP = _ablation(
    'Ablation, TinyViM-S: share of channels that is decoupled',
    '0.25, 0.5, 0.5, 0.75',
    (
        _peer('ablation-ramp', '0.5 in every stage', tinyvim('s', split_ratios=[0.5] * 4)),
        evaluated('0.25, 0.5, 0.5, 0.75', tinyvim('s'), _START, 'top1_300'),
    ),
    'The paper publishes no throughput here.',
)


def _kernel(size: int) -> Row:
    name, network = f'{size}{", axial" * (size > 3)}', tinyvim('s', laplacian_kernel=size)
    if size == 7:
        return evaluated(name, network, _START, 'top1_300', also=('throughput',))
    return Row(name, network, entries={f'ablation-kernel: {name}': ('top1_300', 'throughput')})


KERNEL = _ablation(
    'Ablation, TinyViM-S: Laplacian kernel',
    '7, axial',
    tuple(map(_kernel, (3, 5, 7, 9))),
    'Training the others is up to you, with `model.backbone.laplacian_kernel`.',
)


def _form(arch: str, form: str) -> Row:
    name, deployed = f'TinyViM-{arch.upper()}, {form}', form == 'deployed'
    entries = {f'reparam: {name}': ('top1_gain',)} if deployed and arch != 'b' else {}
    return Row(name, tinyvim(arch), deployed=deployed, entries=entries)


REPARAM = Table(
    'Reparameterization',
    'classification',
    (224, 224),
    'TinyViM-S, deployed',
    ('params', 'gmacs', 'throughput', 'error', 'top1_gain'),
    tuple(_form(arch, form) for arch in 'sbl' for form in ('training form', 'deployed')),
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
