"""Batch norms: synchronized in distributed runs, plain in one process, by one config."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

pytest.importorskip('mmseg')

from mmengine.logging import MMLogger
from mmengine.registry import MODEL_WRAPPERS, MODELS, init_default_scope
from mmengine.runner import Runner

from tinyvim_mm.recipes.configs import find_config, load_config


@MODEL_WRAPPERS.register_module(name='StandInForDDP', force=True)
class Wrapper(nn.Module):
    """Stands for DistributedDataParallel, which needs a process group."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def wrapped(distributed):
    cfg = load_config(find_config('fpn_tinyvim_s_40k_ade20k'))
    init_default_scope('mmseg')
    model = MODELS.build(cfg.model)
    logger = MMLogger.get_current_instance()
    runner = SimpleNamespace(distributed=distributed, cfg=cfg, logger=logger)
    return Runner.wrap_model(runner, dict(type='StandInForDDP') if distributed else None, model)


def test_every_batch_norm_of_a_distributed_run_is_synchronized():
    norms = [m for m in wrapped(distributed=True).modules() if isinstance(m, _BatchNorm)]
    assert len(norms) > 50
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)


def test_one_process_trains_with_plain_batch_norms():
    model = wrapped(distributed=False)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) > 50
    assert not any(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    model = model.cpu()
    assert model.train()(torch.randn(2, 3, 64, 64), mode='tensor').shape == (2, 150, 16, 16)
