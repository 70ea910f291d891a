"""One process of a training of two, connected by gloo: models whose heads leave outputs unused.

``python two_processes.py FOLDER TOOLBOX FAMILY...`` writes ``FOLDER/RANK.json``: by model, what
happened. The usual variables (``RANK``, ``WORLD_SIZE``, ...) connect the processes.
"""

import json
import os
import sys
from pathlib import Path

import torch
from mmengine.hub import get_config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

from tinyvim_mm.core import compat
from tinyvim_mm.models.catalogue import BACKBONES

SIZE = 128
#: Of each toolbox, the models with the backbone of the README's snippet in them.
MODELS_OF = {
    'mmdet': {
        'retinanet': 'retinanet/retinanet_r50_fpn_1x_coco.py',
        'fcos': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
        'atss': 'atss/atss_r50_fpn_1x_coco.py',
    },
    'mmseg': {'pspnet': 'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'},
    'mmpretrain': {'linear': 'resnet/resnet50_8xb32_in1k.py'},
}


def build(toolbox, family, name):
    """The model of a toolbox's config with a tiny backbone of ours, which gives all outputs."""
    torch.manual_seed(0)
    stages = len(BACKBONES[family].strides)
    dims = [40 * 2**i for i in range(stages)]
    cfg = get_config(f'{toolbox}::{MODELS_OF[toolbox][name]}').model
    cfg.backbone = dict(
        type=f'tinyvim_mm.{BACKBONES[family].__name__}',
        arch=dict(embed_dims=dims, depths=[1] * stages),
        normalize_outputs=True,
    )
    if toolbox == 'mmdet':
        cfg.neck.in_channels = dims
    elif toolbox == 'mmseg':
        cfg.pretrained = None
        cfg.data_preprocessor = dict(type='SegDataPreProcessor', size=(SIZE, SIZE))
        for head, index in ((cfg.decode_head, stages - 1), (cfg.auxiliary_head, stages - 2)):
            head.update(in_channels=dims[index], in_index=index, channels=16)
            head.norm_cfg = dict(type='BN')
    else:
        cfg.head.in_channels = dims[-1]
    return MODELS.build(cfg)


def batch(toolbox, rank):
    """Two images with their truth, others on each rank, as a model's ``loss`` takes them."""
    torch.manual_seed(rank)
    images = torch.randn(2, 3, SIZE, SIZE)
    meta = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), (SIZE, SIZE))
    samples = []
    for _ in range(2):
        if toolbox == 'mmdet':
            from mmdet.structures import DetDataSample

            sample = DetDataSample(metainfo={**meta, 'scale_factor': (1.0, 1.0)})
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([[4.0, 4.0, 100.0, 120.0]]), labels=torch.tensor([1])
            )
        elif toolbox == 'mmseg':
            from mmseg.structures import SegDataSample

            sample = SegDataSample(metainfo=meta)
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, SIZE, SIZE)))
        else:
            from mmpretrain.structures import DataSample

            sample = DataSample(metainfo=meta).set_gt_label(1)
        samples.append(sample)
    return images, samples


def outcome(toolbox, family, name, rank):
    """Three steps; the names of the backbone's parameters with a gradient, and those with none."""
    DefaultScope.get_instance(name, scope_name=toolbox)
    with DefaultScope.overwrite_default_scope(toolbox):
        model = MMDistributedDataParallel(build(toolbox, family, name).train())
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        for _ in range(3):
            optimizer.zero_grad()
            loss, _ = model.module.parse_losses(model(*batch(toolbox, rank), mode='loss'))
            loss.backward()
            optimizer.step()
    moved, still = [], []
    for key, parameter in model.module.backbone.named_parameters():
        gradient = parameter.grad
        (still if gradient is None or not gradient.any() else moved).append(key)
    total = sum(p.grad.double().sum().item() for p in model.parameters() if p.grad is not None)
    return {'loss': loss.item(), 'moved': moved, 'still': still, 'sum': total}


def main(folder, toolbox, *families):
    """Run all models of a toolbox with each backbone; an error ends the process."""
    compat.apply()
    torch.distributed.init_process_group('gloo')
    rank = int(os.environ['RANK'])
    __import__(f'{toolbox}.models')
    found = {
        f'{name} {family}': outcome(toolbox, family, name, rank)
        for name in MODELS_OF[toolbox]
        for family in families
    }
    Path(folder, f'{rank}.json').write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main(*sys.argv[1:])
