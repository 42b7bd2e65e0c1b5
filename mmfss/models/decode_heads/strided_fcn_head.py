"""Dense classification at less than full resolution."""
from typing import Any

from mmseg.models.decode_heads import FCNHead
from mmseg.utils import SampleList
from torch import Tensor

from mmfss.registry import MODELS


@MODELS.register_module()
class StridedFCNHead(FCNHead):
    """Train MMSegmentation's FCN head on every s-th row and column of the labels.

    With many classes, full-size logits and their softmax cost more than a small backbone. To train a backbone, labels
    about as dense as its features are enough.

    Args:
        label_stride (int): s. Defaults to 4.
        **kwargs: Arguments of FCNHead.
    """

    def __init__(self, label_stride: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.label_stride = label_stride

    def _stack_batch_gt(self, batch_data_samples: SampleList) -> Tensor:
        """Return labels (B, 1, H / s, W / s)."""
        start = self.label_stride // 2
        return super()._stack_batch_gt(batch_data_samples)[..., start::self.label_stride, start::self.label_stride]
