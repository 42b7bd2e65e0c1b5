"""Control predictors that any trained model must beat on the same episodes.

A good figure can have other reasons than matching: objects sit in the middle of photographs, one object fills the
query, the backbone alone tells the class. Each control keeps one such reason and takes the method away. The third
control, the same model with supports of another class, is a dataset: :class:`mmfss.datasets.WrongSupportDataset`.
"""
from abc import abstractmethod
from typing import Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor, FeaturePyramid, PrototypeMatchingHead
from mmfss.models.layers import compose_ways, resize_aligned
from mmfss.models.segmentors.base_few_shot_segmentor import add_predictions, support_masks
from mmfss.structures import EpisodeDataSample


class ControlModel(BaseModel):
    """Replace a few-shot segmentor in a test loop.

    Args:
        model (BaseFewShotSegmentor): The model under test; the control shares its preprocessing.
    """

    def __init__(self, model: BaseFewShotSegmentor) -> None:
        super().__init__(model.data_preprocessor)

    def logits(self, query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
        """Compute logits like :meth:`BaseFewShotSegmentor.logits`; ways are combined by the same rule.

        Args:
            query (Tensor): Normalized images, shape (B, 3, H, W).
            support (Tensor): Normalized images, shape (B, N, K, 3, H, W).
            masks (Tensor): Binary masks, shape (B, N, K, H, W), float.

        Returns:
            Tensor: Shape (B, N+1, H, W), channel 0 background.
        """
        return compose_ways([self.way_logits(query, support[:, n], masks[:, n]) for n in range(support.shape[1])])

    @abstractmethod
    def way_logits(self, query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
        """Predict one class: supports (B, K, 3, H, W) with masks (B, K, H, W) to (B, 2, H, W)."""

    @torch.no_grad()
    def forward(self,
                inputs: dict[str, Tensor],
                data_samples: list[EpisodeDataSample],
                mode: Literal['predict'] = 'predict') -> list[EpisodeDataSample]:
        """Add ``seg_logits`` and ``pred_sem_seg`` to the samples."""
        if mode != 'predict':
            raise ValueError(f'A control only predicts, but mode={mode!r} was asked for.')
        logits = self.logits(inputs['query'], inputs['support'], support_masks(data_samples).float())
        return add_predictions(data_samples, logits)


class CopiedMask(ControlModel):
    """Copy the support mask onto the query, which measures the value of position and size alone.

    With K shots a pixel is foreground where more than half of the masks are. The logits are the shares of masks for and
    against.
    """

    def way_logits(self, query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
        share = masks.mean(1)
        return torch.stack([1 - share, share], 1)


class PrototypeMatching(ControlModel):
    """Compare query features with the support's mean foreground and background, which measures the backbone alone.

    A :class:`~mmfss.models.PrototypeMatchingHead` of mode ``mean`` on the last map of one level. Nothing is trained.

    Args:
        model (BaseFewShotSegmentor): The model under test; only its backbone is used.
        level (int): Index into the model's feature levels, from fine to coarse; of a model with fewer levels, the
            coarsest counts.
    """

    def __init__(self, model: BaseFewShotSegmentor, level: int = -2) -> None:
        super().__init__(model)
        self.level = level
        # In a list, so that the model is not a part of this module: its mode stays under the caller's control.
        self._segmentor = [model]

    def way_logits(self, query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
        model, = self._segmentor
        levels = model.extract_feat(torch.cat([query, support.flatten(0, 1)])).levels
        maps = levels[self.level if -len(levels) <= self.level < len(levels) else -1][-1]
        pyramid = FeaturePyramid(((maps, ), ))
        query_pyramid, support_pyramid = pyramid.split([len(query), len(maps) - len(query)])
        head = PrototypeMatchingHead([[maps.shape[1]]])
        return resize_aligned(head(query_pyramid, head.encode_support(support_pyramid, masks)), query.shape[-2:])
