"""Base class of explainers that handle one class at a time."""
from abc import abstractmethod
from typing import Optional

import torch
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor
from mmfss.structures import Episode
from .base import Explainer
from .class_score import ClassScore, EncodedEpisode
from .extras import import_extra
from .scaling import get_scaling


class ClassExplainer(Explainer):
    """Explain the classes one after the other, each as a :class:`ClassScore` of its own supports, and scale the maps.

    Args:
        scaling (str, optional): ``'min_max'`` or ``'scale_q'``, over the shots of a class together (see
            :mod:`mmfss.explainers.scaling`); None returns the method's own values.

    Raises:
        ImportError: If a package is missing; the message says what to install.
    """

    requires: tuple[str, ...] = ()
    """Modules of optional packages."""
    extra = 'explain'
    """The extra that installs them."""
    probability = False
    """Whether the class's probability is explained, instead of its logit."""

    @property
    def own_copy(self) -> bool:
        return self.differentiates

    def __init__(self, scaling: Optional[str]) -> None:
        self.scaling = get_scaling(scaling)
        for module in self.requires:
            import_extra(module, self.extra)

    def _attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        encoded = EncodedEpisode(model, episode)
        with torch.set_grad_enabled(self.differentiates):
            maps = [
                self.explain_class(ClassScore(encoded, way, pixels, self.probability)).detach()
                for way, pixels in enumerate(region)
            ]
        return self.scaling(torch.stack(maps))

    @abstractmethod
    def explain_class(self, score: ClassScore) -> Tensor:
        """Compute the method's own values for one class, shape (K, H, W)."""
