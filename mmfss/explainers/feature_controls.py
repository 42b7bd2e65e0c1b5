"""Controls that use the features of a model, but not how it matches them."""
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor
from mmfss.models.layers import resize_adjoint, resize_unaligned
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from .affex import AffEx
from .base import Explainer
from .scaling import min_max


@EXPLAINERS.register_module(name='prototype_readout')
class PrototypeReadout(Explainer):
    """Control: similarity of support positions to the average feature of the region, without the head.

    In each layer of the backbone that is read, every support position gets its cosine similarity with the mean query
    feature of the region. The maps are resized bilinearly, averaged over layers and scaled to 0..1 over a class's
    shots. The difference to AffEx shows what the head's matching adds to its features.

    Args:
        num_levels (int): Levels of the feature pyramid to read, from the coarsest. Defaults to 3.
    """

    own_copy = False

    def __init__(self, num_levels: int = 3) -> None:
        if num_levels < 1:
            raise ValueError(f'num_levels must be at least 1, got {num_levels}.')
        self.num_levels = num_levels

    @torch.no_grad()
    def _attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        query = model.extract_feat(episode.query[None])
        supports = model.extract_feat(episode.support.flatten(0, 1))
        levels = zip(query.levels[-self.num_levels:], supports.levels[-self.num_levels:])
        maps = [self._similarity(*pair, region) for level in levels for pair in zip(*level)]
        ways = episode.masks.shape[:2]
        return min_max(sum(resize_unaligned(x, episode.support_size) for x in maps).view(*ways, *episode.support_size))

    @staticmethod
    def _similarity(query: Tensor, supports: Tensor, region: Tensor) -> Tensor:
        """Compute cosines (N * K, 1, h', w') of maps (N * K, C, h', w') with a query's mean in a region."""
        weights = resize_adjoint(region[:, None].to(query.dtype), query.shape[-2:], antialias=True)
        prototypes = (weights * query).sum((2, 3)) / weights.sum((2, 3))
        prototypes = prototypes.repeat_interleave(len(supports) // len(region), dim=0)
        return F.cosine_similarity(supports, prototypes[:, :, None, None]).unsqueeze(1)


@EXPLAINERS.register_module(name='encoder_affinity')
class EncoderAffinity(Explainer):
    """Control: AffEx's contributions propagated from feature positions to pixels by the backbone's gradient.

    AffEx puts a position's contribution where the position is. Here it is put on the pixels that the feature there
    depends on: the mean over colour channels of ``|d/dx sum_s c_s f_s|``, with c_s the contribution of a support
    position and f_s the mean of its features over channels and layers of its size. Scaled to 0..1 over a class's
    shots. The backbone must be differentiable to its images.

    Args:
        options (Any): Options of :class:`AffEx`.
    """

    def __init__(self, **options: Any) -> None:
        self.affex = AffEx(**options)

    def _attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        by_size = self.affex.contributions(model, episode, region).by_size()
        with torch.enable_grad():
            images = episode.support.detach().clone().requires_grad_()
            score = 0
            for level in model.extract_feat(images.flatten(0, 1)):
                contributions = by_size.get(tuple(level[0].shape[-2:]))
                if contributions is not None:
                    means = torch.stack([feature.mean(1) for feature in level]).mean(0)
                    score = score + (contributions.flatten(0, 1) * means).sum()
            gradient = torch.autograd.grad(score, images)[0]
        return min_max(gradient.abs().mean(2))
