"""Refinement of predicted masks by SAM's mask decoder."""
from typing import Optional

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmfss.registry import MODELS
from ..features import FeaturePyramid

SMALLEST_MARGIN = 1e-6


@MODELS.register_module()
class SAMRefine(BaseModule):
    """Refine the mask of every class with SAM, prompted by the mask's box and its logits.

    ``refine=dict(type='SAMRefine', sam=dict(arch='vit_b', init_cfg=...))`` of a :class:`FewShotSegmentor`, for any
    head. A refined mask is accepted if its IoU with the coarse mask is at least ``min_iou``; otherwise the coarse mask
    stays. A class without a pixel is left out.

    Logits become margins, background 0: a class's margin is its logit minus the largest other one; the refined mask
    gives it its sign. Where refined masks of several classes meet, the larger margin wins. The image is encoded once
    for all classes, supports and perturbed supports.

    Args:
        sam (dict): Config of a :class:`SegmentAnything`.
        min_iou (float): In [0, 1]. Defaults to 0.5.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ModuleNotFoundError: If the package segment-anything is missing.
        ValueError: If ``min_iou`` is out of range.

    Example:
        >>> from mmfss.models import FewShotSegmentor
        >>> model = FewShotSegmentor(  # doctest: +SKIP
        ...     backbone=dict(type='mmpretrain.ResNet', depth=18),
        ...     head=dict(type='DCAMAHead'),
        ...     refine=dict(type='SAMRefine', sam=dict(arch='vit_b')))
    """

    def __init__(self, sam: dict, min_iou: float = 0.5, init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        if not 0 <= min_iou <= 1:
            raise ValueError(f'refine.min_iou must be between 0 and 1, got {min_iou}.')
        self.sam = MODELS.build({'type': 'SegmentAnything', **sam})
        self.min_iou = min_iou

    def forward(self, logits: Tensor, query: FeaturePyramid) -> Tensor:
        """Refine predictions.

        Args:
            logits (Tensor): Raw logits (B, N+1, H, W), channel 0 background.
            query (FeaturePyramid): Features of the B queries, with their images.

        Returns:
            Tensor: Shape (B, N+1, H, W); an element without an accepted mask is returned unchanged.
        """
        embeddings = query.once(('SAM', self.sam), lambda source: [self.sam.embed(x[None]) for x in source.images])
        return torch.stack([
            self._refined(element, embeddings[index % len(embeddings)]) for index, element in enumerate(logits)
        ])

    def _refined(self, logits: Tensor, embedding: Tensor) -> Tensor:
        """Refine one prediction (N+1, H, W)."""
        labels = logits.argmax(0)
        margins, accepted = [torch.zeros_like(logits[0])], False
        for number in range(1, len(logits)):
            margin, coarse = margin_of(logits, number), labels == number
            refined = self._accepted(margin, coarse, embedding)
            if refined is not None:
                size = margin.abs().clamp(min=SMALLEST_MARGIN)
                margin, accepted = torch.where(refined, size, -size), True
            margins.append(margin)
        return torch.stack(margins) if accepted else logits

    def _accepted(self, margin: Tensor, coarse: Tensor, embedding: Tensor) -> Optional[Tensor]:
        """Return the refined mask (H, W), or None if there is nothing to refine or it differs too much."""
        if not coarse.any():
            return None
        refined = self.sam.refine(embedding, margin.detach(), coarse)
        return refined if (refined & coarse).sum() >= self.min_iou * (refined | coarse).sum() else None


def margin_of(logits: Tensor, number: int) -> Tensor:
    """Compute the logit of a class minus the largest other one, (H, W) from (N+1, H, W)."""
    others = torch.cat((logits[:number], logits[number + 1:]))
    return logits[number] - others.amax(0)
