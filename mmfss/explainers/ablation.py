"""Ablation explainers: remove a part of a support and measure what the class loses."""
from abc import abstractmethod
from typing import Optional

import torch
from torch import Tensor

from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore
from .extras import import_extra
from .superpixels import segment


class Ablation(ClassExplainer):
    """Base class of ablations, which remove parts of image and mask together, as one tensor (1, K, 4, H, W).

    Args:
        perturb_masks (bool): Whether the mask is removed with the image. Defaults to True.
        perturbations_per_eval (int): Versions evaluated at a time; of each, only the one support that changed is
            encoded.
        scaling (str, optional): Scaling.
    """

    def __init__(self, perturb_masks: bool, perturbations_per_eval: int, scaling: Optional[str]) -> None:
        super().__init__(scaling)
        self.perturb_masks = perturb_masks
        self.perturbations_per_eval = perturbations_per_eval

    def explain_class(self, score: ClassScore) -> Tensor:

        def of_layers(layers: Tensor) -> Tensor:
            return score(layers[:, :, :3], layers[:, :, 3] if self.perturb_masks else None)

        layers = torch.cat((score.support, score.masks[:, :, None]), dim=2)
        return self.ablate(of_layers, layers, score)[0, :, 0]

    @abstractmethod
    def ablate(self, function: object, layers: Tensor, score: ClassScore) -> Tensor:
        """Compute Captum's attributions of the layers, (1, K, 4, H, W)."""


@EXPLAINERS.register_module(name='feature_ablation')
class FeatureAblation(Ablation):
    """Measure the logit that the class loses when one superpixel of image and mask is set to zero; signed.

    Through Captum. Cost: as many forward passes of one support as there are superpixels.

    Args:
        n_segments (int): Superpixels of each support (SLIC). Defaults to 80.
        compactness (float): Of the superpixels. Defaults to 10.
        perturb_masks (bool): Whether the mask is removed with the image. Defaults to True.
        perturbations_per_eval (int): Superpixels evaluated at a time. Defaults to 8.
        scaling (str, optional): Defaults to ``'min_max'``; None gives losses of the logit.
    """

    requires = ('captum.attr', 'skimage.segmentation')

    def __init__(self,
                 n_segments: int = 80,
                 compactness: float = 10.,
                 perturb_masks: bool = True,
                 perturbations_per_eval: int = 8,
                 scaling: Optional[str] = 'min_max') -> None:
        super().__init__(perturb_masks, perturbations_per_eval, scaling)
        self.n_segments = n_segments
        self.compactness = compactness

    def ablate(self, function: object, layers: Tensor, score: ClassScore) -> Tensor:
        segments = segment(score.support[0], self.n_segments, self.compactness)
        return import_extra('captum.attr').FeatureAblation(function).attribute(
            layers,
            feature_mask=segments[None, :, None].expand_as(layers),
            perturbations_per_eval=self.perturbations_per_eval)


@EXPLAINERS.register_module(name='occlusion')
class Occlusion(Ablation):
    """Measure the logit that the class loses when a window of image and mask is set to zero; signed.

    Through Captum. Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014. A
    pixel gets the mean over the windows that cover it. Cost: a forward pass of one support for every window.

    Args:
        sliding_window (int, optional): Side of the window in pixels. Defaults to a sixth of the shorter side.
        strides (int, optional): Step of the window in pixels. Defaults to half of the window.
        perturb_masks (bool): Whether the mask is removed with the image. Defaults to True.
        perturbations_per_eval (int): Windows evaluated at a time. Defaults to 8.
        scaling (str, optional): Defaults to ``'min_max'``; None gives losses of the logit.
    """

    requires = ('captum.attr', )

    def __init__(self,
                 sliding_window: Optional[int] = None,
                 strides: Optional[int] = None,
                 perturb_masks: bool = True,
                 perturbations_per_eval: int = 8,
                 scaling: Optional[str] = 'min_max') -> None:
        super().__init__(perturb_masks, perturbations_per_eval, scaling)
        self.sliding_window = sliding_window
        self.strides = strides

    def ablate(self, function: object, layers: Tensor, score: ClassScore) -> Tensor:
        window = self.sliding_window or max(min(layers.shape[-2:]) // 6, 1)
        stride = self.strides or max(window // 2, 1)
        return import_extra('captum.attr').Occlusion(function).attribute(
            layers,
            sliding_window_shapes=(1, layers.shape[2], window, window),
            strides=(1, layers.shape[2], stride, stride),
            perturbations_per_eval=self.perturbations_per_eval)
