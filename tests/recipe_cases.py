"""Recipes for tests: each config loaded once, small samples, one training step."""

import copy
from functools import cache

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData

from tinyvim_mm.recipes.configs import find_config, load_config

SIZE = 64
META = {
    'img_shape': (SIZE, SIZE),
    'ori_shape': (SIZE, SIZE),
    'pad_shape': (SIZE, SIZE),
    'batch_input_shape': (SIZE, SIZE),
    'scale_factor': (1.0, 1.0),
    'img_id': 0,
}


@cache
def _load(name):
    return load_config(find_config(name))


def load(name) -> Config:
    """A copy of a config, which is read from the disk once; building a model changes its config."""
    return copy.deepcopy(_load(name))


def transforms(dataloader, kind):
    return [step for step in dataloader.dataset.pipeline if step.type == kind]


def transform(dataloader, kind):
    (step,) = transforms(dataloader, kind)
    return step


def build(name):
    """Config and network of a recipe."""
    cfg = load(name)
    init_default_scope(cfg.default_scope)
    if 'rpn_proposal' in (cfg.model.get('train_cfg') or {}):
        # The heads would take most of the time.
        cfg.model.train_cfg.rpn_proposal.max_per_img = 20
        cfg.model.test_cfg.rpn.max_per_img = 20
    return cfg, MODELS.build(cfg.model)


def spared(cfg, model):
    """Names of the parameters without weight decay, and the optimizer's groups."""
    from mmengine.optim import build_optim_wrapper

    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    assert {id(p) for group in groups for p in group['params']} == set(names)
    free = {names[id(p)] for g in groups for p in g['params'] if g['weight_decay'] == 0}
    return free, groups


def picture():
    return torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8)


def sample_of(name):
    return detection_sample() if name.endswith('coco') else segmentation_sample()


def detection_sample():
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    masks = np.zeros((2, SIZE, SIZE), np.uint8)
    masks[0, 3:40, 2:38] = masks[1, 20:60, 30:60] = 1
    instances = InstanceData(
        bboxes=torch.tensor([[2.0, 3.0, 38.0, 40.0], [30.0, 20.0, 60.0, 60.0]]),
        labels=torch.tensor([1, 7]),
        masks=BitmapMasks(masks, SIZE, SIZE),
    )
    sample = DetDataSample(gt_instances=instances, metainfo=META)
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    return sample


def segmentation_sample():
    from mmseg.structures import SegDataSample

    labels = torch.randint(0, 150, (1, SIZE, SIZE))
    labels[:, :8] = 255
    return SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=META)


def gradients_of_a_step(name, model):
    """Forward and backward with two samples: every parameter's gradient, all finite."""
    if name.endswith('ade20k'):
        model.data_preprocessor.size = (SIZE, SIZE)
    model.train()
    data = {'inputs': [picture(), picture()], 'data_samples': [sample_of(name), sample_of(name)]}
    data = model.data_preprocessor(data, True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    assert loss.isfinite()
    assert loss > 0
    loss.backward()
    # Distributed training stops at a parameter that takes no part in the loss.
    assert [key for key, p in model.named_parameters() if p.grad is None] == []
    grads = [p.grad for p in model.parameters()]
    assert all(grad.isfinite().all() for grad in grads)
    model.zero_grad()
    return grads


def prediction(model, image, sample):
    data = model.data_preprocessor({'inputs': [image], 'data_samples': [sample]}, False)
    with torch.no_grad():
        (found,) = model.eval()(**data, mode='predict')
    return found
