"""What the training recipes need beside mmengine's optimizers."""

from .adaptive_clip import adaptive_clip_grad_
from .constructor import RecipeOptimWrapperConstructor

__all__ = ['RecipeOptimWrapperConstructor', 'adaptive_clip_grad_']
