"""Control predictors that any trained model must beat on the same episodes.

A good figure can have other reasons than matching: objects sit in the middle of photographs, one object fills the
query, the backbone alone tells the class. Each control keeps one such reason and takes the method away. The third
control, the same model with supports of another class, is a dataset: :class:`mmfss.datasets.WrongSupportDataset`.
"""
from abc import abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor
from mmfss.models.layers import compose_ways
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

    Foreground and background prototype are the averages of the last map of one level over the pixels inside and outside
    the masks of all shots (a feature weighs as the share of its cell that the mask covers, so that no object is lost).
    Each query pixel goes to the prototype with the larger cosine, after resizing the two cosine maps to the input's
    size. Nothing is trained.

    Args:
        model (BaseFewShotSegmentor): The model under test, of which only the backbone is used.
        level (int): Index into the model's feature levels, from fine to coarse.
    """

    def __init__(self, model: BaseFewShotSegmentor, level: int = -2) -> None:
        super().__init__(model)
        self.level = level
        # In a list, so that the model is not a part of this module: its mode stays under the caller's control.
        self._segmentor = [model]

    def way_logits(self, query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
        batch_size, num_shots = masks.shape[:2]
        features = self._features(torch.cat([query, support.flatten(0, 1)]))
        query_features, support_features = features.split([batch_size, batch_size * num_shots])
        weights = F.adaptive_avg_pool2d(masks, features.shape[-2:])
        weights = torch.stack([1 - weights, weights], 1)
        support_features = support_features.unflatten(0, (batch_size, num_shots))
        # A sum over shots and pixels instead of an average: the cosine does not see the length.
        prototypes = torch.einsum('bskhw,bkchw->bsc', weights, support_features)
        cosines = torch.einsum('bsc,bchw->bshw', F.normalize(prototypes, dim=2), F.normalize(query_features, dim=1))
        return F.interpolate(cosines, query.shape[-2:], mode='bilinear', align_corners=True)

    def _features(self, images: Tensor) -> Tensor:
        """Return the last map of the chosen level, (B, C, h, w)."""
        model, = self._segmentor
        return model.extract_feat(images)[self.level][-1]
