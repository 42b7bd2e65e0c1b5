"""Few-shot segmentor of a backbone, a feature reader and a head."""
from dataclasses import replace
from typing import Optional, Sequence

import torch
from torch import Tensor

from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from ..features import FeaturePyramid, build_feature_reader
from ..heads.matched_way import MatchedWay
from ..pretrained import check_pretrained
from .base_few_shot_segmentor import (
    BaseFewShotSegmentor,
    EpisodeInputs,
    SupportEncoding,
    SupportImages,
    support_masks,
)

PIXELS_AT_A_TIME = dict(cpu=2**18, cuda=2**23)
"""Pixels of images that a backbone reads at a time for each thread (CPU) or in all, when it records no gradient."""


@MODELS.register_module()
class FewShotSegmentor(BaseFewShotSegmentor):
    """Segment a query with a backbone, a feature reader and a few-shot head.

    Letters: B episodes, N ways, K shots, images of H x W pixels.

    Args:
        backbone (dict): Any MMSegmentation or MMPretrain backbone.
        head (dict): A matching head. Its ``in_channels`` are filled in from the backbone.
        features (dict, optional): The feature reader. By default it is chosen by the backbone's class.
        frozen_backbone (bool): Keep the backbone as it is: no gradient, always in eval mode (so BatchNorm statistics
            stay too). Defaults to True.
        threshold, data_preprocessor, init_cfg: See :class:`BaseFewShotSegmentor`.
        train_cfg, test_cfg (dict, optional): Not used; accepted for compatibility with MMSegmentation.
        refine (dict, optional): Refinement of predictions, such as :class:`SAMRefine`; losses are not affected.

    Raises:
        ValueError: If the threshold is out of range.

    Example:
        >>> import torch
        >>> from mmfss.registry import MODELS
        >>> model = MODELS.build(dict(
        ...     type='FewShotSegmentor',
        ...     backbone=dict(type='mmpretrain.ResNet', depth=18),
        ...     head=dict(type='HSNetHead'))).eval()
        >>> query, support = torch.rand(2, 3, 64, 64), torch.rand(2, 1, 5, 3, 64, 64)  # 2 episodes, 1-way 5-shot
        >>> with torch.no_grad():
        ...     logits = model.logits(query, support, masks=torch.ones(2, 1, 5, 64, 64))
        >>> logits.shape  # background and one class
        torch.Size([2, 2, 64, 64])
    """

    def __init__(self,
                 backbone: dict,
                 head: dict,
                 features: Optional[dict] = None,
                 frozen_backbone: bool = True,
                 threshold: float = 0.5,
                 data_preprocessor: Optional[dict] = None,
                 train_cfg: Optional[dict] = None,
                 test_cfg: Optional[dict] = None,
                 init_cfg: Optional[dict] = None,
                 refine: Optional[dict] = None) -> None:
        super().__init__(threshold, data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.feature_reader = build_feature_reader(features, self.backbone)
        self.head = MODELS.build({'in_channels': self.feature_reader.channels(self.backbone), **head})
        self.refine = None if refine is None else MODELS.build(refine)
        self.frozen_backbone = frozen_backbone
        if frozen_backbone:
            self.backbone.requires_grad_(False)
            self.backbone.eval()

    @property
    def training_free(self) -> bool:
        return self.head.training_free and self.frozen_backbone

    def init_weights(self) -> None:
        """Initialize the weights; fail first if an ``init_cfg`` checkpoint is missing or does not match."""
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
        """Compute the feature pyramid of normalized images (B, 3, H, W).

        A frozen backbone records no gradient, unless the images themselves require one. Without gradients, many images
        are read in slices: the memory of a forward pass does not grow with their number.
        """
        differentiable = not self.frozen_backbone or inputs.requires_grad
        with torch.set_grad_enabled(torch.is_grad_enabled() and differentiable):
            slices = inputs.split(self._at_a_time(inputs)) if self._reads_slices() else (inputs, )
            pyramid = FeaturePyramid.join(self.feature_reader(self.backbone, images) for images in slices)
        return replace(pyramid, images=inputs) if self.head.reads_images or self.refine is not None else pyramid

    def compares_slices(self, query: Tensor, support: Sequence[Tensor]) -> bool:
        images = len(query) + sum(len(shots.flatten(0, 1)) for shots in support)
        return self.head.shots_apart and self._reads_slices() and images > self._at_a_time(query)

    def shots_at_a_time(self, query: Tensor) -> int:
        return max(1, self._at_a_time(query) // len(query))

    def _reads_slices(self) -> bool:
        """Check whether the backbone may read images in slices: no gradient, and no statistics of the whole batch."""
        is_graph = torch.compiler.is_compiling() or torch.jit.is_tracing()
        return not (torch.is_grad_enabled() or self.backbone.training or is_graph)

    @staticmethod
    def _at_a_time(images: Tensor) -> int:
        """Return the number of images of a slice."""
        budget = PIXELS_AT_A_TIME.get(images.device.type, PIXELS_AT_A_TIME['cuda'])
        if images.device.type == 'cpu':
            budget *= torch.get_num_threads()
        return max(1, budget // images.shape[-2:].numel())

    def encode_features(self, pyramid: FeaturePyramid, masks: SupportImages) -> SupportEncoding:
        masks = list(masks.unbind(1) if isinstance(masks, Tensor) else masks)
        parts = pyramid.split([mask.shape[0] * mask.shape[1] for mask in masks])
        return SupportEncoding(tuple(self.head.encode_support(p, m) for p, m in zip(parts, masks)), masks[0].shape[0])

    def way_logits(self, pyramid: FeaturePyramid, encoding: SupportEncoding) -> list[Tensor]:
        return [self.head(pyramid, way) for way in encoding.ways]

    def matched_ways(self, pyramid: FeaturePyramid, encoding: SupportEncoding) -> list[MatchedWay]:
        return [self.head.matched_way(pyramid, way) for way in encoding.ways]

    def use_differentiable_form(self) -> Optional[str]:
        return self.head.use_differentiable_form()

    def use_exportable_form(self, image: Tensor) -> Optional[str]:
        if self.refine is not None:
            raise ValueError(f'model.refine ({type(self.refine).__name__}) cannot be exported: set model.refine=None '
                             'to export the model without it.')
        self.feature_reader = self.feature_reader.fixed_for(self.backbone, image)
        return self.head.use_exportable_form()

    def refined(self, logits: Tensor, pyramid: FeaturePyramid) -> Tensor:
        return logits if self.refine is None else self.refine(logits, pyramid)

    def presence_feature(self, pyramid: FeaturePyramid) -> Tensor:
        return pyramid[-1][-1]

    def combine_shots(self, way: Tensor, size: Sequence[int], for_loss: bool = False) -> Tensor:
        return self.head.combine_shots(way, size, for_loss)

    # The modes of MMSegmentation

    def loss(self, inputs: EpisodeInputs, data_samples: list[EpisodeDataSample]) -> dict[str, Tensor]:
        """Compute the losses of a batch of episodes; the head's auxiliary losses are averaged over the ways."""
        target = torch.stack([sample.gt_sem_seg.data.squeeze(0) for sample in data_samples])
        pyramid, encoding = self.encode(inputs['query'], inputs['support'], support_masks(data_samples))
        ways = [
            self.head.forward_train(pyramid, way, (target == number).long().masked_fill(target == 255, 255))
            for number, way in enumerate(encoding.ways, start=1)
        ]
        logits = self.compose([logits for logits, _ in ways], target.shape[-2:], for_loss=True)
        own = {name: torch.stack([losses[name] for _, losses in ways]).mean() for name in ways[0][1]}
        return {**self.head.loss(logits, target), **own}
