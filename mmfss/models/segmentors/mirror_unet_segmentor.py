"""U-Nets with the encoder of a classifier, the baselines of unrolled LRP."""
from typing import Optional, Sequence

from torch import Tensor

from mmfss.registry import MODELS
from ..relevance import record_forward
from .image_label_segmentor import ImageLabelSegmentor


@MODELS.register_module()
class MirrorUNetSegmentor(ImageLabelSegmentor):
    """Segment by a U-Net; with ``cls_head`` also classify, from the encoder's last map.

    The two baselines of Yu et al. (2024): fully supervised (no ``cls_head``, ``cls_loss_weight=0``, masks only), and
    semi-supervised with both losses. If the backbone has a ``maxpool``, its input is the finest level.

    Args:
        backbone (dict): Any backbone; ``out_indices`` names all levels.
        decode_head (dict): :class:`MirrorUNetHead`.
        cls_head (dict, optional): :class:`PooledClassifier`.
        **kwargs: See :class:`ImageLabelSegmentor`.
    """

    def classify_and_segment(self, inputs: Tensor, classes: Optional[Sequence[int]] = None
                             ) -> tuple[Optional[Tensor], Tensor]:
        stem = getattr(self.backbone, 'maxpool', None)
        with record_forward([] if stem is None else [stem]) as record:
            features = list(self.extract_feat(inputs))
        finest = [record[stem].input] if stem is not None else []
        maps = self.decode_head([*finest, *features], inputs.shape[2:]).float()
        logits = self.cls_head(features) if self.cls_head is not None else None
        return logits, maps if classes is None else maps[:, list(classes)]
