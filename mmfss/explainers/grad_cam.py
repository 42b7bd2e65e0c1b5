"""Class activation maps of the supports' features."""
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import FeaturePyramid
from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore
from .extras import import_extra


@EXPLAINERS.register_module(name='grad_cam')
class GradCAM(ClassExplainer):
    """Weight the channels of support features with the mean gradient of the class's logit; positive part.

    Source: Selvaraju et al., "Grad-CAM", ICCV 2017. By default the features are all maps of one level of the feature
    pyramid, as the head receives them, so the gradient goes through the head alone and not through the backbone. With
    ``layer`` they are the output of a named module, through Captum. Maps are resized to the supports, bilinear.

    Args:
        level (int): Level of the feature pyramid. Defaults to -1, the deepest.
        layer (str, optional): Dotted name of a module of the model, e.g. ``'backbone.layer3.5'``, used instead of
            ``level``. It must return maps (B, C, h, w) and be called once for a batch of images.
        scaling (str, optional): Defaults to ``'min_max'``; None gives activations, zero and more.

    Raises:
        ValueError: If the model has no such level or layer, or the class's logit does not depend on it.
    """

    differentiates = True

    def __init__(self, level: int = -1, layer: Optional[str] = None, scaling: Optional[str] = 'min_max') -> None:
        self.requires = ('captum.attr', ) if layer else ()
        super().__init__(scaling)
        self.level = level
        self.layer = layer

    def explain_class(self, score: ClassScore) -> Tensor:
        cam = self._of_level(score) if self.layer is None else self._of_layer(score)
        return F.interpolate(cam[:, None], score.support.shape[-2:], mode='bilinear')[:, 0]

    def _of_level(self, score: ClassScore) -> Tensor:
        levels = list(score.features)
        if not -len(levels) <= self.level < len(levels):
            raise ValueError(f'Grad-CAM: there is no level {self.level}, the feature pyramid has {len(levels)}.')
        maps = [feature.detach().clone().requires_grad_() for feature in levels[self.level]]
        levels[self.level] = tuple(maps)
        value = score.of_features(FeaturePyramid(tuple(levels)), score.masks)
        gradients = torch.autograd.grad(value, maps, allow_unused=True) if value.requires_grad else [None]
        if all(gradient is None for gradient in gradients):
            raise ValueError(f"Grad-CAM: the head does not use level {self.level} of the supports' features.")
        weighted = [(g.mean((2, 3), keepdim=True) * m).sum(1) for g, m in zip(gradients, maps) if g is not None]
        return sum(weighted).relu()

    def _of_layer(self, score: ClassScore) -> Tensor:
        modules = dict(score.model.named_modules())
        if self.layer not in modules:
            raise ValueError(f'Grad-CAM: the model has no module "{self.layer}"; it has e.g. '
                             f'{", ".join(name for name in modules if name.count(".") == 2)}.')
        score.encoded.query  # noqa: B018  (now, so that the layer sees the supports alone)
        method = import_extra('captum.attr').LayerGradCam(score, modules[self.layer])
        try:
            cam = method.attribute(score.support.clone().requires_grad_(), relu_attributions=True)
        except (RuntimeError, AssertionError, KeyError, IndexError) as error:
            raise ValueError(f'Grad-CAM: "{self.layer}" cannot be used, its output must be a map that the class\'s '
                             f'logit depends on ({error}).') from error
        if not isinstance(cam, Tensor) or cam.ndim != 4 or len(cam) != score.masks.shape[1]:
            raise ValueError(f'Grad-CAM: "{self.layer}" must return maps (B, C, h, w) of the supports.')
        return cam[:, 0]
