"""Integrated gradients on a path of decreasing blur."""
from typing import Optional

import torch
from torch import Tensor

from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore, input_gradient

AXES = ('image', 'reference')


@EXPLAINERS.register_module(name='blur_ig')
class BlurIG(ClassExplainer):
    """Integrate gradients along the path from blurred to sharp images (query and supports), absolute values.

    Source: Xu et al., "Attribution in Scale and Space", CVPR 2020. Our own implementation, in torch on the images'
    device: a blur is one matrix product per axis. Explains the mean probability over the region, like the published
    comparison. Cost: ``steps`` forward and backward passes.

    Args:
        max_sigma (float): Standard deviation of the strongest blur in pixels. Defaults to 50.
        steps (int): Points of the path, evenly spaced in sigma. Defaults to 25.
        grad_step (float): Step of the derivative of the blur. Defaults to 0.01.
        axes (str): ``'image'`` blurs rows and columns; ``'reference'`` blurs channels and rows, as the released
            implementation does by mistake. Defaults to ``'image'``.
        perturb_query (bool): Whether the query is blurred too; otherwise it is encoded only once. Defaults to True.
        internal_batch_size (int): Points evaluated at a time. Defaults to 1.
        scaling (str, optional): Defaults to ``'scale_q'``; None gives absolute attributions, mean over channels.
    """

    differentiates = True
    probability = True

    def __init__(self,
                 max_sigma: float = 50.,
                 steps: int = 25,
                 grad_step: float = 0.01,
                 axes: str = 'image',
                 perturb_query: bool = True,
                 internal_batch_size: int = 1,
                 scaling: Optional[str] = 'scale_q') -> None:
        super().__init__(scaling)
        if axes not in AXES:
            raise ValueError(f'Unknown axes "{axes}" of Blur IG: give one of {", ".join(AXES)}.')
        self.dims = (-2, -1) if axes == 'image' else (-3, -2)
        self.max_sigma = max_sigma
        self.steps = steps
        self.grad_step = grad_step
        self.perturb_query = perturb_query
        self.internal_batch_size = internal_batch_size

    def explain_class(self, score: ClassScore) -> Tensor:
        sigmas = [i * self.max_sigma / self.steps for i in range(self.steps)]
        total = torch.zeros_like(score.support[0])
        for start in range(0, self.steps, self.internal_batch_size):
            part = sigmas[start:start + self.internal_batch_size]
            images, slopes = zip(*(self._blur_and_slope(score.support, sigma) for sigma in part))
            query = torch.cat([blur(score.query, s, self.dims) for s in part]) if self.perturb_query else None
            gradients, _ = input_gradient(score, torch.cat(images), query)
            total -= (gradients * torch.cat(slopes)).sum(0)
        return (total * self.max_sigma / self.steps).abs().mean(1)

    def _blur_and_slope(self, images: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """Compute the blurred images and their derivative with respect to sigma."""
        # Use double precision for the difference of two nearly equal images.
        now, further = (blur(images.double(), s, self.dims) for s in (sigma, sigma + self.grad_step))
        return blur(images, sigma, self.dims), ((further - now) / self.grad_step).to(images)


def blur(images: Tensor, sigma: float, dims: tuple[int, int]) -> Tensor:
    """Blur along two axes with a Gaussian, zero outside the image, in double precision.

    Args:
        images (Tensor): Any shape.
        sigma (float): Standard deviation in pixels; 0 changes nothing.
        dims (tuple[int, int]): The axes.

    Returns:
        Tensor: Of the images' data type.
    """
    for dim in dims:
        matrix = blur_matrix(images.shape[dim], sigma).to(images.device)
        images = torch.tensordot(images.double(), matrix, dims=([dim], [1])).movedim(-1, dim).to(images.dtype)
    return images


def blur_matrix(size: int, sigma: float, truncate: float = 4.) -> Tensor:
    """Build the matrix (size, size) of a one-dimensional Gaussian blur, cut off at ``truncate`` deviations."""
    if sigma == 0:
        return torch.eye(size, dtype=torch.float64)
    radius = int(truncate * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma)**2)
    kernel = kernel / kernel.sum()
    distance = (torch.arange(size)[:, None] - torch.arange(size)).abs()
    return torch.where(distance <= radius, kernel[(distance + radius).clamp(max=2 * radius)], 0.)
