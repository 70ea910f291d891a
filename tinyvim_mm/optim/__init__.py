"""What the training recipes need beside mmengine's optimizers."""

from .adaptive_clip import adaptive_clip_grad_
from .constructor import RecipeOptimWrapperConstructor
from .cpu_amp import CPUAmpOptimWrapper

__all__ = ['CPUAmpOptimWrapper', 'RecipeOptimWrapperConstructor', 'adaptive_clip_grad_']
