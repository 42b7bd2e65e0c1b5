"""EncoderDecoder with multi-resolution input and selectable trainable parts, for ScaleProtoSeg."""
from typing import Any, Optional, Sequence

import torch.nn.functional as F
from mmengine.registry import DefaultScope
from mmseg.models.segmentors import EncoderDecoder
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmfss.registry import MODELS


@MODELS.register_module()
class ScaleProtoSegmentor(EncoderDecoder):
    """Segment with a backbone and a prototype head.

    Args:
        msc_scales (Sequence[float]): Further input resolutions, as factors of the full one. The head takes the maximum
            of their maps; in training each is also a sample of its own. Published: (0.5, 0.75) on PASCAL VOC and
            COCO-Stuff, none elsewhere.
        trainable (Sequence[str], optional): Parts to train: ``'backbone'``, ``'neck'`` or parameters and modules of the
            head (``'scale_convs'``, ``'prototypes'``, ``'classifier'``, ``'groups'``, ``'group_classifier'``). All else
            is frozen: no gradient, normalization and dropout as in evaluation. None trains everything that has not
            been frozen by other means.
        one_step_resize (bool): In whole-image inference enlarge logits from the feature grid straight to the size of
            the annotation, as published, where the input was not padded. False: first to the input's size
            (MMSegmentation's way).
        **kwargs: See MMSegmentation's ``EncoderDecoder``.

    Raises:
        ValueError: If a part does not exist, or a resolution is not a factor above 0.
    """

    def __init__(self,
                 *args: Any,
                 msc_scales: Sequence[float] = (),
                 trainable: Optional[Sequence[str]] = None,
                 one_step_resize: bool = True,
                 **kwargs: Any) -> None:
        # MMSegmentation builds the parts by its own registry, which finds this package's only in this package's scope.
        scope = MODELS.scope if DefaultScope.get_current_instance() is None else None
        with DefaultScope.overwrite_default_scope(scope):
            super().__init__(*args, **kwargs)
        if any(factor <= 0 for factor in msc_scales):
            raise ValueError(f'msc_scales are factors above 0, got {tuple(msc_scales)}.')
        self.msc_scales = tuple(msc_scales)
        self.one_step_resize = one_step_resize
        self.frozen_modules: list[nn.Module] = []
        if trainable is not None:
            self._freeze_all_but(trainable)

    def extract_feat(self, inputs: Tensor) -> list[Sequence[Tensor]]:
        """Compute the features of images at every input resolution.

        Args:
            inputs (Tensor): Normalized images, shape (B, 3, H, W).

        Returns:
            list[Sequence[Tensor]]: Maps of the backbone, for the full resolution and for each of ``msc_scales``.
        """
        extract = super().extract_feat
        resized = (F.interpolate(inputs, scale_factor=factor, mode='bilinear', align_corners=False)
                   for factor in self.msc_scales)
        return [extract(inputs), *(extract(images) for images in resized)]

    def _auxiliary_head_forward_train(self, inputs: list[Sequence[Tensor]], data_samples: SampleList) -> dict:
        # Auxiliary heads see the full resolution only.
        return super()._auxiliary_head_forward_train(inputs[0], data_samples)

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Compute logits at the size of the input, or of the annotation if ``one_step_resize`` is set."""
        if not self.one_step_resize or self.test_cfg.get('mode', 'whole') != 'whole':
            return super().encode_decode(inputs, batch_img_metas)
        sizes = {tuple(meta['ori_shape'][:2]) for meta in batch_img_metas}
        padded = any(any(meta.get('padding_size', ())) or any(meta.get('img_padding_size', ()))
                     for meta in batch_img_metas)
        if len(sizes) != 1 or padded:
            return super().encode_decode(inputs, batch_img_metas)
        logits = self.decode_head(self.extract_feat(inputs))
        return F.interpolate(logits, sizes.pop(), mode='bilinear', align_corners=self.align_corners)

    def train(self, mode: bool = True) -> 'ScaleProtoSegmentor':
        """Set the mode; frozen parts stay in eval mode."""
        super().train(mode)
        for module in self.frozen_modules:
            module.eval()
        return self

    def _freeze_all_but(self, trainable: Sequence[str]) -> None:
        parts = {name: getattr(self, name) for name in ('backbone', 'neck', 'auxiliary_head') if hasattr(self, name)}
        parts.update(self.decode_head.named_children())
        parts.update(self.decode_head.named_parameters(recurse=False))
        unknown = [name for name in trainable if name not in parts]
        if unknown:
            raise ValueError(f'model.trainable names {unknown}, but the parts of this model are {sorted(parts)}.')
        for name, part in parts.items():
            if name not in trainable:
                part.requires_grad_(False)
                if isinstance(part, nn.Module):
                    self.frozen_modules.append(part)
