"""Regions of the supports, ranked by integrated gradients."""
from typing import Optional

import torch
from torch import Tensor

from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore
from .extras import import_extra
from .integrated_gradients import integrate


@EXPLAINERS.register_module(name='xrai')
class XRAI(ClassExplainer):
    """Average integrated gradients over the regions of several over-segmentations of each support.

    Source: Kapishnikov et al., "XRAI: Better Attributions Through Regions", ICCV 2019. Regions and ranking are those of
    the authors' package ``saliency``, with its parameters (Felzenszwalb segments at six scales, of each support alone);
    the integrated gradients of the images, largest channel, are Captum's. Explains the mean probability over the
    region, like the published comparison. Cost: ``n_steps`` forward and backward passes, and some seconds per support
    for the regions.

    Args:
        n_steps (int): Points of the path of the integrated gradients. Defaults to 25.
        method (str): Captum's integration rule. Defaults to ``'gausslegendre'``.
        internal_batch_size (int): Points evaluated at a time. Defaults to 1.
        algorithm (str): ``'fast'`` ranks regions once, ``'full'`` again after every choice. Defaults to ``'fast'``.
        perturb_query (bool): Whether the query moves along the path. Defaults to True.
        scaling (str, optional): Defaults to ``'scale_q'``; None gives signed means.
    """

    requires = ('captum.attr', 'saliency.core')
    extra = 'xrai'
    differentiates = True
    probability = True

    def __init__(self,
                 n_steps: int = 25,
                 method: str = 'gausslegendre',
                 internal_batch_size: int = 1,
                 algorithm: str = 'fast',
                 perturb_query: bool = True,
                 scaling: Optional[str] = 'scale_q') -> None:
        super().__init__(scaling)
        if algorithm not in ('fast', 'full'):
            raise ValueError(f'Unknown algorithm "{algorithm}" of XRAI: give "fast" or "full".')
        self.options = dict(n_steps=n_steps, method=method, internal_batch_size=internal_batch_size)
        self.algorithm = algorithm
        self.perturb_query = perturb_query

    def explain_class(self, score: ClassScore) -> Tensor:
        gradients = integrate(score, self.perturb_query, perturb_masks=False, **self.options).detach()
        return torch.stack([self._rank(*pair) for pair in zip(score.support[0], gradients)])

    def _rank(self, image: Tensor, gradients: Tensor) -> Tensor:
        """Compute the region means of one support, (H, W), from its image and integrated gradients (3, H, W)."""
        if image.min() == image.max():
            # Without contrast there is one region.
            return gradients.amax(0).mean().expand(image.shape[1:])
        core = import_extra('saliency.core')
        pixels, values = (x.cpu().double().permute(1, 2, 0).numpy() for x in (image, gradients))
        ranked = core.XRAI().GetMask(
            pixels, None, base_attribution=values, extra_parameters=core.XRAIParameters(algorithm=self.algorithm))
        return torch.from_numpy(ranked).to(image)
