"""Segmentors that also classify the whole image, trained on a few masks and many image-level labels."""
from abc import abstractmethod
from typing import Any, Optional, Sequence

import torch
from mmengine.registry import DefaultScope
from mmseg.models.segmentors import BaseSegmentor
from mmseg.utils import OptSampleList, SampleList
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.utils.config_options import ConfigError
from ..losses.partial_labels import image_label_loss, labelled_cross_entropy


class ImageLabelSegmentor(BaseSegmentor):
    """Base class: logits of the image and of its pixels, and their two losses (Yu et al., 2024).

    L = seg_loss_weight * cross entropy of the labelled pixels + cls_loss_weight * binary cross entropy of the labels.

    Args:
        backbone (dict): Any backbone of MMPretrain or MMSegmentation.
        cls_head (dict, optional): Classifier of the whole image; its class has ``in_channels`` or knows them.
        decode_head (dict): The decoder.
        seg_loss_weight (float): 0 trains the classifier alone, and decodes nothing in training.
        cls_loss_weight (float): 0 trains on masks alone.
        cls_loss_over_batch (str): ``'sum'`` (as published with both terms) or ``'mean'`` (as published for the
            classifier alone), see :func:`mmfss.models.losses.image_label_loss`.
        background (bool): Whether class 0 is the background, which every image has.
        ignore_index (int): Label of pixels without one.
        data_preprocessor, init_cfg: As of any MMSegmentation model.

    Raises:
        ConfigError: If an argument is wrong, or the decoder cannot take the classifier.
    """

    align_corners = False

    def __init__(self,
                 backbone: dict,
                 decode_head: dict,
                 cls_head: Optional[dict] = None,
                 seg_loss_weight: float = 1.0,
                 cls_loss_weight: float = 1.0,
                 cls_loss_over_batch: str = 'sum',
                 background: bool = True,
                 ignore_index: int = 255,
                 data_preprocessor: Optional[dict] = None,
                 train_cfg: Optional[dict] = None,
                 test_cfg: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        if cls_loss_over_batch not in ('sum', 'mean'):
            raise ConfigError(f"model.cls_loss_over_batch must be 'sum' or 'mean', got {cls_loss_over_batch!r}.")
        if min(seg_loss_weight, cls_loss_weight) < 0 or seg_loss_weight + cls_loss_weight == 0:
            raise ConfigError('model.seg_loss_weight and model.cls_loss_weight must be 0 or more, and not both 0; got '
                              f'{seg_loss_weight} and {cls_loss_weight}.')
        if cls_head is None and cls_loss_weight:
            raise ConfigError('model.cls_loss_weight must be 0 for a model without cls_head.')
        # MMSegmentation builds the data preprocessor by its own registry.
        scope = MODELS.scope if DefaultScope.get_current_instance() is None else None
        with DefaultScope.overwrite_default_scope(scope):
            super().__init__(data_preprocessor, init_cfg)
            self.backbone = MODELS.build(backbone)
            self.cls_head = None if cls_head is None else MODELS.build(cls_head)
            self.decode_head = MODELS.build(decode_head)
        self.seg_loss_weight, self.cls_loss_weight = seg_loss_weight, cls_loss_weight
        self.cls_loss_over_batch = cls_loss_over_batch
        self.background, self.ignore_index = background, ignore_index
        self.train_cfg, self.test_cfg = train_cfg or {}, test_cfg or dict(mode='whole')

    @property
    def num_classes(self) -> int:
        """int: K."""
        return self.cls_head.fc.out_features if self.cls_head is not None else self.decode_head.num_classes

    @abstractmethod
    def classify_and_segment(self, inputs: Tensor, classes: Optional[Sequence[int]] = None
                             ) -> tuple[Optional[Tensor], Tensor]:
        """Compute both sorts of logits.

        Args:
            inputs (Tensor): Normalized images, shape (N, 3, H, W).
            classes (Sequence[int], optional): Maps of these k classes only, in this order.

        Returns:
            tuple[Tensor, Tensor]: Logits of the image, shape (N, K), None without ``cls_head``, and of its pixels,
            shape (N, k, H, W).
        """

    def extract_feat(self, inputs: Tensor) -> Any:
        """Compute the backbone's maps."""
        return self.backbone(inputs)

    def classify(self, inputs: Tensor) -> Tensor:
        """Compute the logits (N, K) of images (N, 3, H, W).

        Raises:
            ValueError: If the images are smaller than the classifier allows.
        """
        smallest, size = getattr(self.cls_head, 'min_size', 1), inputs.shape[2:]
        if min(size) < smallest:
            raise ValueError(f'{type(self.cls_head).__name__} needs images of at least {smallest} x {smallest} pixels, '
                             f'got {size[0]} x {size[1]}.')
        return self.cls_head(self.extract_feat(inputs))

    def encode_decode(self, inputs: Tensor, batch_img_metas: Optional[list[dict]] = None) -> Tensor:
        """Compute the logits (N, K, H, W) of the pixels."""
        return self.classify_and_segment(inputs)[1]

    def _forward(self, inputs: Tensor, data_samples: OptSampleList = None) -> tuple[Tensor, Optional[Tensor]]:
        cls_logits, seg_logits = self.classify_and_segment(inputs)
        return seg_logits, cls_logits

    def predict(self, inputs: Tensor, data_samples: OptSampleList = None) -> SampleList:
        """Segment and classify.

        Args:
            inputs (Tensor): Shape (N, 3, H, W).
            data_samples (list, optional): Their samples.

        Returns:
            list[SegDataSample]: With ``seg_logits``, ``pred_sem_seg`` and, of models with ``cls_head``, ``cls_logits``
            (K,).
        """
        cls_logits, seg_logits = self.classify_and_segment(inputs)
        samples = self.postprocess_result(seg_logits, data_samples)
        for index, sample in enumerate(samples):
            if cls_logits is not None:
                sample.cls_logits = cls_logits[index].float()
        return samples

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            inputs (Tensor): Shape (N, 3, H, W).
            data_samples (list): With ``gt_sem_seg`` (all ``ignore_index`` for an image without a mask) and
                ``gt_image_labels`` (K,), see :class:`mmfss.datasets.PackPartialLabels`.

        Returns:
            dict[str, Tensor]: ``loss_seg`` and ``loss_cls``, each if its weight is not 0.
        """
        losses = {}
        if self.seg_loss_weight:
            target = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples]).long()
            cls_logits, losses['loss_seg'] = self.classify_and_compare(inputs, target)
        else:
            cls_logits = self.classify(inputs)
        if self.cls_loss_weight:
            labels = torch.stack([self._image_labels(sample) for sample in data_samples])
            losses['loss_cls'] = self.cls_loss_weight * image_label_loss(
                cls_logits, labels, self.background, self.cls_loss_over_batch)
        return losses

    def classify_and_compare(self, inputs: Tensor, target: Tensor) -> tuple[Optional[Tensor], Tensor]:
        """Compute the logits (N, K) of the image and the loss of its pixels' labels ``target`` (N, H, W)."""
        cls_logits, seg_logits = self.classify_and_segment(inputs)
        return cls_logits, self.compare(seg_logits, target)

    def compare(self, seg_logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of logits (N, K, H, W) of the pixels, given their labels (N, H, W)."""
        return self.seg_loss_weight * labelled_cross_entropy(seg_logits, target, self.ignore_index)

    def _image_labels(self, sample: Any) -> Tensor:
        if 'gt_image_labels' not in sample:
            raise ConfigError(f'The sample of "{sample.get("img_path")}" has no image-level labels (gt_image_labels): '
                              "end train_dataloader's pipeline with PackPartialLabels.")
        labels = sample.gt_image_labels
        if len(labels) != self.num_classes:
            raise ConfigError(f'The data have {len(labels)} classes, the model {self.num_classes}: set num_classes of '
                              'model.cls_head (and model.decode_head).')
        return labels

    def train(self, mode: bool = True) -> 'ImageLabelSegmentor':
        """Set the mode; batch norm stays in eval mode if the decoder needs that."""
        super().train(mode)
        if mode and getattr(self.decode_head, 'fixes_statistics', False):
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self
