"""Own data in one command: read, checked, planned, trained, and made a model folder."""

from typing import TYPE_CHECKING

from ..core.lazy_names import lazy_names

if TYPE_CHECKING:
    from .finetuning import finetune

__all__ = ['finetune']

__getattr__, __dir__ = lazy_names(__name__, {'finetune': f'{__name__}.finetuning'})
