"""Reparameterization: from the form that trains to an equal one that is smaller and faster.

What a batch norm does in inference is affine, and so are the branches of a
depthwise group and the factors of a layer scale. They fold into the
convolution or the linear layer beside them:

=============================================  ==================================
training form                                  deployed form
=============================================  ==================================
``ConvBN``: convolution, batch norm            biased convolution
``RepDWConv``: ``BN(ConvBN(x) + 1x1(x) + x)``  biased depthwise convolution
``ResidualDWConv``: ``x + ConvBN(x)``          biased depthwise convolution
``layer_scale`` of a ``LocalBlock``            in the second convolution of its FFN
``base_scale`` of a ``WTEMamba``               in its output projection
``scale`` of a ``WaveletConv``                 in its convolution
``DistillationClassifier``: batch norm, two    one linear layer, their mean
linear layers
=============================================  ==================================

The weights of a scan keep their form; a copy is laid out for its kernels once, in place of
once in each call (:meth:`.SS2D.prepare`).

The batch norms of a backbone's outputs, ``out_norms``, stay: the next stage takes the map
before the norm. Necks and heads of the toolboxes stay as they are; after
:func:`reparameterize`, :func:`mmcv.cnn.fuse_conv_bn` folds their norms too, provided that no
convolution is shared by several norms, as it is in the head of RTMDet.

Keys of a deployed state dict: a folded convolution has ``weight`` and ``bias``
where the training form has the group (``stem.0.conv.weight``, ``stem.0.bn.*``
become ``stem.0.weight``, ``stem.0.bias``; ``dwconv.conv.conv.weight``,
``dwconv.conv1x1.*``, ``dwconv.bn.*`` become ``dwconv.weight``,
``dwconv.bias``); there are no factors of their own, and a classifier has ``head.weight``
and ``head.bias`` only. Everything else keeps its name. One form's state dict
does not load into the other: that is an error which says what to do.
"""

import copy
from typing import Iterable, Optional, TypeVar

from torch import nn

from ..core.errors import CheckpointError

Model = TypeVar('Model', bound=nn.Module)


class Deployable(nn.Module):
    """Base of models that have a deployed form."""

    #: Whether this is the deployed form.
    deployed = False

    def switch_to_deploy(self) -> None:
        """Turn this model into its deployed form, in place and for good.

        Afterwards its parameters take no gradients. A second call does nothing. Arguments
        and errors are as with :func:`reparameterize`, but an error may leave it half folded.
        """
        if not self.deployed:
            self.fuse_parts()
            for module in self.modules():
                if hasattr(module, 'prepare'):  # of a scan
                    module.prepare()
            self.requires_grad_(False)
            self.eval()
            self.deployed = True

    def fuse_parts(self) -> None:
        """Fold what can be folded."""
        raise NotImplementedError

    def is_deployed_form(self, keys: Iterable[str]) -> Optional[bool]:
        """Whether keys of a state dict are of the deployed form; ``None`` if they do not tell."""
        del keys
        return None

    def train(self: Model, mode: bool = True) -> Model:
        """Set the mode; training of the deployed form is a RuntimeError."""
        if mode and self.deployed:
            raise RuntimeError(
                f'{type(self).__name__} is reparameterized: its batch norms are folded, so it '
                'cannot be trained. Train a model as it was built, and reparameterize a copy of '
                'it: reparameterize(model)'
            )
        return super().train(mode)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        # Raised here: mmengine and strict=False only log keys that do not fit.
        keys = [key[len(prefix) :] for key in state_dict if key.startswith(prefix)]
        name, found = type(self).__name__, self.is_deployed_form(keys)
        if found is False and self.deployed:
            raise CheckpointError(
                f'the checkpoint holds {name} in its training form, and this model is '
                'reparameterized already. Load first, then reparameterize: build the model '
                'anew, load the checkpoint, and call reparameterize(model)'
            )
        if found and not self.deployed:
            raise CheckpointError(
                f'the checkpoint holds {name} reparameterized, and this model is in its training '
                'form. To train it, or to use a tool, take the checkpoint that it was made from; '
                'to load it nevertheless, call reparameterize(model, inplace=True) first'
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


def reparameterize(model: Model, inplace: bool = False) -> Model:
    """Bring a model, or what it contains, into its deployed form.

    Args:
        model: A backbone or classifier of this project, or a model that contains them.
            Its weights must be loaded already. The running statistics of its batch norms
            count, whatever mode it is in.
        inplace: Whether to change ``model`` itself instead of a copy.

    Returns:
        The deployed model, in evaluation mode; it cannot be trained.

    Raises:
        ValueError: Nothing in it can be folded, or a batch norm keeps no running
            statistics or was folded by other means.

    Example:
        >>> import torch
        >>> from tinyvim_mm.models import TinyViM, reparameterize
        >>> backbone = TinyViM(arch='s', normalize_outputs=False)
        >>> deployed = reparameterize(backbone)
        >>> sum(p.numel() for p in deployed.parameters())
        5420864
    """
    if not any(isinstance(module, Deployable) for module in model.modules()):
        raise ValueError(
            f'{type(model).__name__} contains no model of tinyvim_mm, so there is nothing to '
            'reparameterize; it takes a backbone such as tinyvim_mm.TinyViM, or a model with one'
        )
    if not inplace:
        model = copy.deepcopy(model)
    model.eval()
    for module in [module for module in model.modules() if isinstance(module, Deployable)]:
        module.switch_to_deploy()
    return model
