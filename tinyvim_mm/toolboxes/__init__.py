"""What the tools must know about each toolbox: a module each, of the toolbox's name.

It offers what :class:`Toolbox` lists; importing it imports no toolbox.
"""

from importlib import import_module
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
    Protocol,
    Tuple,
    Type,
)

from ..core.environment import SCOPES
from .common import Change, FullData, Photographs, Score

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.evaluator import BaseMetric
    from mmengine.runner import Runner
    from torch import Tensor, nn
    from torch.utils.data import Dataset

    from ..visualization.sheet import Row
    from .predictor import Predictor


class Toolbox(Protocol):
    """What the module of each toolbox offers."""

    #: Type of a dataset to a description of how its files are laid out, with
    #: the placeholder ``{root}``.
    LAYOUTS: Dict[str, str]
    #: Type of a dataset to the public dataset that the recipes read with it.
    FULL_DATA: Dict[str, FullData]
    #: The figures of a validation; the first says which was the best.
    SCORES: Tuple[Score, ...]
    #: The sample photographs that the network is trained on, and the others.
    SEEN: Photographs
    UNSEEN: Photographs
    #: What predicts for the demo.
    PREDICTOR: 'Type[Predictor]'

    def sample_changes(self, cfg: 'Config', config_path: Path) -> Iterator[Change]:
        """What ``--sample`` changes; each change is applied before the next is asked for.

        Raises:
            UsageError: The config does not read what the photographs replace, or
                they are not there.
        """

    def read_training_photographs(
        self, cfg: 'Config', dataloader: 'Config', evaluator: 'Config'
    ) -> None:
        """Let copies of ``test_dataloader`` and ``test_evaluator`` read the training photographs.

        ``cfg`` is changed by :meth:`sample_changes` already.
        """

    def score_line(self, found: Dict[str, Any]) -> str:
        """The scores of one set of photographs in words, in percent as papers print them."""

    def pick_photographs(self, dataset: 'Dataset', number: int) -> List[int]:
        """Indices of photographs to draw, chosen by their ground truth alone."""

    def draw_row(self, runner: 'Runner', sample: Any, label: str) -> 'Row':
        """Draw ground truth and prediction of ``sample``, which ``model.test_step`` returned.

        ``label`` says how the network stands to the photograph.
        """

    def show_predictions(self, cfg: 'Config', hook: dict, folder: Optional[str]) -> None:
        """Let ``hook``, the config's visualization hook, draw while a checkpoint is tested.

        ``folder``, an absolute path, is for the pictures.
        """

    def run_network(self, model: 'nn.Module', network: 'Callable[[Tensor], Tensor]') -> None:
        """Let a model predict by what gives the logits of normalized images.

        Raises:
            UsageError: The toolbox has no such networks.
        """

    def dump_metric(self, path: str) -> 'BaseMetric':
        """A metric that saves the predictions as a pickle."""


def toolbox_of(cfg: 'Config') -> Toolbox:
    """The module for a config's ``default_scope``, one of :data:`SCOPES`."""
    return import_module(f'.{cfg.default_scope}', __name__)


__all__ = ['SCOPES', 'Change', 'FullData', 'Photographs', 'Score', 'Toolbox', 'toolbox_of']
