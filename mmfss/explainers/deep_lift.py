"""DeepLIFT: differences from a blank episode, passed through the network."""
import copy
import warnings
from contextlib import contextmanager
from typing import Iterator, Optional

import torch
from torch import Tensor, nn

from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore
from .extras import import_extra

RESCALED = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.MaxPool2d)
"""Modules that Captum's Rescale rule covers; everything else passes its gradient on."""
SCOPES = ('model', 'head')


@EXPLAINERS.register_module(name='deep_lift')
class DeepLift(ClassExplainer):
    """Propagate the difference from a blank episode (all zero) to the support images, Rescale rule; signed.

    Through Captum. Source: Shrikumar et al., "Learning Important Features Through Propagating Activation Differences",
    ICML 2017. The rule covers the activation and max-pooling *modules* of :data:`RESCALED`. Attention, its softmax,
    normalization layers, GELU and functions that are no modules (the maximum over shots of DCAMA's skip features) pass
    their plain gradient on, so the contributions do not sum exactly to the difference. Cost: one forward and one
    backward pass of the supports and of blank supports.

    If a network calls one activation several times (every ResNet block does), each call gets its own copy of the module
    during the explanation.

    Args:
        scope (str): Where the rule is used: ``'model'``, everywhere; or ``'head'``, not in the backbone, as in the
            released comparison, whose backbone is run in a way that the rule does not reach. Defaults to ``'model'``.
        scaling (str, optional): Defaults to ``'min_max'``; None gives signed contributions, mean over channels.
    """

    requires = ('captum.attr', )
    differentiates = True

    def __init__(self, scope: str = 'model', scaling: Optional[str] = 'min_max') -> None:
        super().__init__(scaling)
        if scope not in SCOPES:
            raise ValueError(f'Unknown scope "{scope}" of DeepLIFT: give one of {", ".join(SCOPES)}.')
        self.scope = scope
        # Filters are the process's: to change them only while explaining would disturb other threads.
        warnings.filterwarnings('ignore', message='Setting forward, backward hooks', category=UserWarning)

    def explain_class(self, score: ClassScore) -> Tensor:
        if self.scope == 'head' and not hasattr(score.model, 'head'):
            raise ValueError(f'DeepLIFT: a {type(score.model).__name__} has no head, so scope="head" has no meaning: '
                             'use scope="model".')
        module = ScoreModule(score, score.model if self.scope == 'model' else score.model.head)
        with called_once(module, score.support):
            method = import_extra('captum.attr').DeepLift(module)
            return method.attribute(score.support.clone().requires_grad_())[0].mean(1)


class ScoreModule(nn.Module):
    """The score as a module, of a batch that Captum makes: the support set, then a blank one.

    The query of the second is blank and so is its mask.

    Args:
        score (ClassScore): What is explained.
        rescaled (nn.Module): The part of the model in which Captum finds its modules.
    """

    def __init__(self, score: ClassScore, rescaled: nn.Module) -> None:
        super().__init__()
        self.rescaled = rescaled
        self.score = score
        with torch.no_grad():
            self.query = score.model.extract_feat(torch.cat((score.query, torch.zeros_like(score.query))))
        self.masks = torch.cat((score.masks, torch.zeros_like(score.masks)))

    def forward(self, support: Tensor) -> Tensor:
        """Score (2, K, 3, H, W) as (2, )."""
        features = self.score.model.extract_feat(support.flatten(0, 1))
        return self.score.of_features(features, self.masks, self.query)


class CallByCall(nn.Module):
    """Replace a module that is called several times in a forward pass; each call uses its own copy.

    A copy receives a tensor of its own, since Captum replaces the whole gradient of what a module receives, and a
    residual sum has other readers too.

    Args:
        module (nn.Module): Module without parameters.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module)
        self.copies = nn.ModuleList()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Call the copy whose turn it is."""
        if self.calls >= len(self.copies):
            self.copies.append(copy.deepcopy(self.module))
        self.calls += 1
        return self.copies[self.calls - 1](x.clone())


@contextmanager
def called_once(module: ScoreModule, support: Tensor) -> Iterator[None]:
    """Replace the activations below ``module.rescaled`` by :class:`CallByCall`; put them back afterwards."""
    places = [(parent, name, child) for parent in module.rescaled.modules()
              for name, child in parent.named_children() if type(child) in RESCALED]
    stand_ins = {child: CallByCall(child).eval() for _, _, child in places}
    try:
        for parent, name, child in places:
            setattr(parent, name, stand_ins[child])
        # One pass makes as many copies as there are calls.
        with torch.no_grad():
            module(torch.cat((support, torch.zeros_like(support))))
        for stand_in in stand_ins.values():
            del stand_in.module
            stand_in.calls = 0
        yield
    finally:
        for parent, name, child in places:
            setattr(parent, name, child)
