"""An image classifier that segments by explaining itself."""
from typing import Any, Optional, Sequence

import torch
from torch import Tensor

from mmfss.registry import MODELS
from .image_label_segmentor import ImageLabelSegmentor


@MODELS.register_module()
class UnrolledLRPSegmentor(ImageLabelSegmentor):
    """Segment by the relevance maps of a classifier's logits (Yu et al., arXiv 2407.03009).

    The K maps are the logits of the pixels, at the size of the input. The decoder has no parameter: it is layer-wise
    relevance propagation through the classifier, unrolled, with the classifier's own weights. All maps cost about K
    further forward passes of the backbone; memory grows with ``decode_head.chunk``.

    Args:
        backbone (dict): ResNet or VGG (``UnrolledLRPHead``), or any backbone (``GradientInputHead``).
        cls_head (dict): :class:`PooledClassifier` or, for VGG, :class:`VGGClassifier`.
        decode_head (dict): :class:`UnrolledLRPHead` or :class:`GradientInputHead`.
        **kwargs: See :class:`ImageLabelSegmentor`.

    Example:
        >>> import torch
        >>> from mmfss.models import UnrolledLRPSegmentor
        >>> model = UnrolledLRPSegmentor(
        ...     backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
        ...     cls_head=dict(type='PooledClassifier', in_channels=64, num_classes=5),
        ...     decode_head=dict(type='UnrolledLRPHead', chunk=5)).eval()
        >>> cls_logits, maps = model.classify_and_segment(torch.rand(1, 3, 50, 70), classes=[0, 4])
        >>> cls_logits.shape, maps.shape
        (torch.Size([1, 5]), torch.Size([1, 2, 50, 70]))
    """

    def __init__(self, backbone: dict, cls_head: dict, decode_head: dict, **kwargs: Any) -> None:
        super().__init__(backbone, decode_head, cls_head, **kwargs)
        self.decode_head.attach(self.backbone, self.cls_head)

    def classify_and_segment(self, inputs: Tensor, classes: Optional[Sequence[int]] = None) -> tuple[Tensor, Tensor]:
        images = inputs.detach()
        with self.decode_head.record(images) as record:
            logits = self.classify(images)
        maps = self.decode_head(record, images, logits, classes)
        return logits if torch.is_grad_enabled() else logits.detach(), maps
