"""A backbone and a matching head, put together."""
from dataclasses import dataclass
from math import log
from typing import Any, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from ..features import FeaturePyramid, build_feature_reader
from ..layers import compose_ways
from ..pretrained import check_pretrained

EpisodeInputs = dict[str, Tensor]
SupportImages = Union[Tensor, Sequence[Tensor]]


@dataclass(frozen=True)
class SupportEncoding:
    """Encoded supports of one or of B episodes, for any number of queries.

    Attributes:
        ways (tuple): The head's encoding of each way.
        batch_size (int): Episodes encoded; 1 serves every query of a batch.
    """
    ways: tuple[Any, ...]
    batch_size: int


@MODELS.register_module()
class FewShotSegmentor(BaseSegmentor):
    """Segment in a query image the classes that annotated support images show.

    Letters: B episodes, N ways, K shots, images of H x W pixels.

    Args:
        backbone (dict): Any MMSegmentation or MMPretrain backbone.
        head (dict): A matching head. Its ``in_channels`` are filled in from the backbone.
        features (dict, optional): The feature reader. By default it is chosen by the backbone's class.
        frozen_backbone (bool): Keep the backbone as it is: no gradient, always in eval mode (so BatchNorm statistics
            stay too). Defaults to True.
        threshold (float): Probability, in (0, 1), above which a pixel shows the class, of each shot where heads
            predict by shots. Less than 0.5 may help where training saw few classes: others are ranked well, but with
            lower probabilities. The background's logits of predictions are shifted by log(t / (1 - t)), those of losses
            not. ``tools/analysis_tools/choose_threshold.py`` chooses it without the tested classes.
        data_preprocessor (dict, optional): Defaults to :class:`EpisodeDataPreProcessor` with ImageNet's statistics.
        train_cfg, test_cfg (dict, optional): Accepted for MMSegmentation's sake, not used.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If the threshold is out of range.
    """

    align_corners = True
    """How logits are resized, here and by whoever resizes them further."""

    def __init__(self,
                 backbone: dict,
                 head: dict,
                 features: Optional[dict] = None,
                 frozen_backbone: bool = True,
                 threshold: float = 0.5,
                 data_preprocessor: Optional[dict] = None,
                 train_cfg: Optional[dict] = None,
                 test_cfg: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        # Built here: the base class would look its type up in MMEngine's registry, which does not know this package's.
        super().__init__(MODELS.build(data_preprocessor or dict(type='EpisodeDataPreProcessor')), init_cfg)
        self.backbone = MODELS.build(backbone)
        self.feature_reader = build_feature_reader(features, self.backbone)
        self.head = MODELS.build({'in_channels': self.feature_reader.channels(self.backbone), **head})
        if not 0 < threshold < 1:
            raise ValueError(f'model.threshold is a probability between 0 and 1, got {threshold}.')
        self.threshold = threshold
        self.frozen_backbone = frozen_backbone
        if frozen_backbone:
            self.backbone.requires_grad_(False)
            self.backbone.eval()

    def init_weights(self) -> None:
        """Initialise, after checking that the weights which the config declares are there and fit."""
        if not self.is_init:
            check_pretrained(self)
        super().init_weights()

    def train(self, mode: bool = True) -> 'FewShotSegmentor':
        """Set the mode; a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.frozen_backbone:
            self.backbone.eval()
        return self

    # The plain-tensor interface

    def extract_feat(self, inputs: Tensor) -> FeaturePyramid:
        """Features of normalised images (B, 3, H, W).

        A frozen backbone records no gradient, except for images that ask for theirs.
        """
        differentiable = not self.frozen_backbone or inputs.requires_grad
        with torch.set_grad_enabled(torch.is_grad_enabled() and differentiable):
            return self.feature_reader(self.backbone, inputs)

    def encode_support(self, support: SupportImages, masks: SupportImages) -> SupportEncoding:
        """Encode annotated supports, to be used for any number of queries.

        Args:
            support (Tensor | Sequence[Tensor]): Normalised images (B, N, K, 3, H, W); or, when the ways differ in their
                number of shots, for each way (B, K_n, 3, H, W).
            masks (Tensor | Sequence[Tensor]): Binary masks (B, N, K, H, W), or for each way (B, K_n, H, W).

        Returns:
            SupportEncoding: Takes the place of ``support`` and ``masks`` in :meth:`logits`.
        """
        support, masks = self._ways(support, masks)
        pyramid = self.extract_feat(torch.cat([images.flatten(0, 1) for images in support]))
        return self.encode_features(pyramid, masks)

    def encode_features(self, pyramid: FeaturePyramid, masks: SupportImages) -> SupportEncoding:
        """Encode supports whose features are known already.

        Args:
            pyramid (FeaturePyramid): Features of all supports: way by way, in each episode by episode, shot by shot.
            masks (Tensor | Sequence[Tensor]): As in :meth:`encode_support`.

        Returns:
            SupportEncoding: As of :meth:`encode_support`.
        """
        masks = list(masks.unbind(1) if isinstance(masks, Tensor) else masks)
        parts = pyramid.split([mask.shape[0] * mask.shape[1] for mask in masks])
        return SupportEncoding(tuple(self.head.encode_support(p, m) for p, m in zip(parts, masks)), masks[0].shape[0])

    def logits(self,
               query: Tensor,
               support: Union[SupportImages, SupportEncoding],
               masks: Optional[SupportImages] = None) -> Tensor:
        """Segment queries.

        Query and supports of equal size share one pass of the backbone.

        Args:
            query (Tensor): Normalised images, shape (B, 3, H, W).
            support (Tensor | Sequence[Tensor] | SupportEncoding): As in :meth:`encode_support`, or its result.
            masks (Tensor | Sequence[Tensor], optional): As in :meth:`encode_support`; None with an encoding.

        Returns:
            Tensor: Raw logits (B, N+1, H, W), channel 0 background.

        Raises:
            ValueError: If shapes do not fit together.
        """
        if isinstance(support, SupportEncoding):
            if support.batch_size not in (1, len(query)):
                raise ValueError(
                    f'{support.batch_size} support sets cannot serve {len(query)} queries: encode one, or as many.')
            return self.match(self.extract_feat(query), support, query.shape[-2:])
        if masks is None:
            raise ValueError('`masks` may be left out only with encoded supports.')
        return self.match(*self.encode(query, support, masks), query.shape[-2:])

    def encode(self, query: Tensor, support: SupportImages, masks: SupportImages) -> tuple[FeaturePyramid,
                                                                                           SupportEncoding]:
        """Compute what :meth:`match` needs of queries and supports; of equal size, they share one pass of the backbone.

        Args:
            query (Tensor): Normalised images, shape (B, 3, H, W).
            support (Tensor | Sequence[Tensor]): As in :meth:`encode_support`, of B episodes.
            masks (Tensor | Sequence[Tensor]): As in :meth:`encode_support`.

        Returns:
            tuple[FeaturePyramid, SupportEncoding]: Features of the queries, and the encoded supports.

        Raises:
            ValueError: If shapes do not fit together.
        """
        support, masks = self._ways(support, masks)
        if {len(images) for images in support} != {len(query)}:
            raise ValueError(f'{len(support[0])} support sets were given for {len(query)} queries; encode a single set '
                             'with `encode_support` to use it for several queries.')
        shots = [images.flatten(0, 1) for images in support]
        if support[0].shape[-2:] == query.shape[-2:]:
            images = torch.cat((query, *shots))
            query_pyramid, support_pyramid = self.extract_feat(images).split((len(query), len(images) - len(query)))
        else:
            query_pyramid, support_pyramid = self.extract_feat(query), self.extract_feat(torch.cat(shots))
        return query_pyramid, self.encode_features(support_pyramid, masks)

    def match(self,
              pyramid: FeaturePyramid,
              encoding: SupportEncoding,
              size: Sequence[int],
              for_loss: bool = False) -> Tensor:
        """Segment queries whose features are known already.

        Args:
            pyramid (FeaturePyramid): Features of B queries.
            encoding (SupportEncoding): Of B support sets, or of one that serves all queries.
            size (Sequence[int]): Size (H, W) of the result.
            for_loss (bool): See :meth:`compose`.

        Returns:
            Tensor: Raw logits (B, N+1, H, W), channel 0 background.
        """
        return self.compose([self.head(pyramid, way) for way in encoding.ways], size, for_loss)

    def compose(self, ways: Sequence[Tensor], size: Sequence[int], for_loss: bool = False) -> Tensor:
        """Combine the head's logits of every way into those of the model.

        Args:
            ways (Sequence[Tensor]): For each of N ways what :meth:`MatchingHead.decode` returns.
            size (Sequence[int]): Size (H, W) of the result.
            for_loss (bool): Leave out what concerns predictions only, whatever the mode: ``threshold``, and options of
                the head.

        Returns:
            Tensor: Raw logits (B, N+1, H, W), channel 0 background.
        """
        if not for_loss:
            ways = [self._thresholded(way) for way in ways]
        logits = compose_ways([self.head.combine_shots(way, size, for_loss) for way in ways])
        if logits.shape[-2:] == tuple(size):
            return logits
        return F.interpolate(logits, tuple(size), mode='bilinear', align_corners=self.align_corners)

    def _thresholded(self, logits: Tensor) -> Tensor:
        """Logits (..., 2, h, w), of which the foreground is larger where it is probable enough."""
        if self.threshold == 0.5:
            return logits
        background, foreground = logits.unbind(-3)
        return torch.stack((background + log(self.threshold / (1 - self.threshold)), foreground), dim=-3)

    @staticmethod
    def _ways(support: SupportImages, masks: SupportImages) -> tuple[list[Tensor], list[Tensor]]:
        """Split into ways, (B, K, 3, H, W) and (B, K, H, W), and check the shapes."""
        if isinstance(support, Tensor) and support.ndim != 6:
            raise ValueError(f'Supports must have shape (B, N, K, 3, H, W), got {tuple(support.shape)}.')
        support = list(support.unbind(1) if isinstance(support, Tensor) else support)
        masks = list(masks.unbind(1) if isinstance(masks, Tensor) else masks)
        shapes = [tuple(images.shape[:2] + images.shape[3:]) for images in support]
        if not shapes or shapes != [tuple(mask.shape) for mask in masks] or any(0 in shape for shape in shapes):
            raise ValueError('Every way needs at least one support image and a mask of the size of each. Got images '
                             f'{[tuple(images.shape) for images in support]} and masks '
                             f'{[tuple(mask.shape) for mask in masks]}.')
        return support, [mask.to(images.dtype) for mask, images in zip(masks, support)]

    # The modes of MMSegmentation

    def loss(self, inputs: EpisodeInputs, data_samples: list[EpisodeDataSample]) -> dict[str, Tensor]:
        """Losses of a batch of episodes; those of the head's own are the mean over ways."""
        target = torch.stack([sample.gt_sem_seg.data.squeeze(0) for sample in data_samples])
        pyramid, encoding = self.encode(inputs['query'], inputs['support'], support_masks(data_samples))
        ways = [
            self.head.forward_train(pyramid, way, (target == number).long().masked_fill(target == 255, 255))
            for number, way in enumerate(encoding.ways, start=1)
        ]
        logits = self.compose([logits for logits, _ in ways], target.shape[-2:], for_loss=True)
        own = {name: torch.stack([losses[name] for _, losses in ways]).mean() for name in ways[0][1]}
        return {**self.head.loss(logits, target), **own}

    @torch.no_grad()
    def predict(self, inputs: EpisodeInputs, data_samples: list[EpisodeDataSample]) -> list[EpisodeDataSample]:
        """Add ``seg_logits`` (N+1, H, W) and ``pred_sem_seg`` (1, H, W) to every sample, at network size."""
        return add_predictions(data_samples, self._forward(inputs, data_samples))

    def _forward(self, inputs: EpisodeInputs, data_samples: list[EpisodeDataSample]) -> Tensor:
        """Raw logits (B, N+1, H, W)."""
        return self.logits(inputs['query'], inputs['support'], support_masks(data_samples))

    encode_decode = _forward


def support_masks(data_samples: Sequence[EpisodeDataSample]) -> Tensor:
    """Boolean support masks (B, N, K, H, W).

    Ignored support pixels (255) count as background, like in the published implementations.
    """
    return torch.stack([sample.support_sem_seg for sample in data_samples]) == 1


def add_predictions(data_samples: list[EpisodeDataSample], logits: Tensor) -> list[EpisodeDataSample]:
    """Add ``seg_logits`` (N+1, H, W) and ``pred_sem_seg`` (1, H, W) to each sample; logits are (B, N+1, H, W)."""
    for sample, sample_logits in zip(data_samples, logits):
        sample.seg_logits = PixelData(data=sample_logits)
        sample.pred_sem_seg = PixelData(data=sample_logits.argmax(0, keepdim=True))
    return data_samples
