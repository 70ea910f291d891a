"""What mmcv tells about the compilation of its operators, for reports of the environment."""

from ..core import environment

__all__ = ['get_compiler_version', 'get_compiling_cuda_version']


def get_compiler_version() -> str:
    """That nothing was compiled."""
    version = environment.installed_version('torchvision')
    return f'none: operators on torchvision {version}, by tinyvim_mm'


def get_compiling_cuda_version() -> str:
    """Of which CUDA torch and torchvision are."""
    import torch

    return f'none: that of torch, {torch.version.cuda}'
