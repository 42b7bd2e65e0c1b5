"""An image classifier that segments by explaining itself."""
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Callable, Iterator, Optional, Sequence

import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from torch import Tensor

from mmfss.registry import MODEL_WRAPPERS, MODELS
from .image_label_segmentor import ImageLabelSegmentor


@MODELS.register_module()
class UnrolledLRPSegmentor(ImageLabelSegmentor):
    """Segment by the relevance maps of a classifier's logits (Yu et al., arXiv 2407.03009).

    The K maps are the logits of the pixels, at the size of the input. The decoder has no parameter: it is layer-wise
    relevance propagation through the classifier, unrolled, with the classifier's own weights. All maps cost about K
    further forward passes of the backbone; memory grows with ``decode_head.chunk``.

    With ``decode_head.iterative_gradients`` a training step runs one backward pass per chunk of classes, so that one
    chunk's graph is held. All of them go through the optimizer wrapper, which scales the loss, accumulates gradients
    and takes one step; of several processes, only the last pass exchanges gradients. :meth:`loss` outside of
    :meth:`train_step` holds the graph of all classes.

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

    distributed_wrapper = 'IterativeDataParallel'
    """Type of the wrapper for several processes."""

    def __init__(self, backbone: dict, cls_head: dict, decode_head: dict, **kwargs: Any) -> None:
        super().__init__(backbone, decode_head, cls_head, **kwargs)
        self.decode_head.attach(self.backbone, self.cls_head)
        self._backward: Optional[Callable[..., None]] = None

    def classify_and_segment(self, inputs: Tensor, classes: Optional[Sequence[int]] = None) -> tuple[Tensor, Tensor]:
        images = inputs.detach()
        with self.decode_head.record(images) as record:
            logits = self.classify(images)
        maps = self.decode_head(record, images, logits, classes)
        return logits if torch.is_grad_enabled() else logits.detach(), maps

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        with self.stepping(optim_wrapper):
            return super().train_step(data, optim_wrapper)

    @contextmanager
    def stepping(self, optim_wrapper: OptimWrapper,
                 no_sync: Callable[[], AbstractContextManager] = nullcontext) -> Iterator[None]:
        """Let :meth:`loss` run all backward passes of an iteration but the last, if gradients are iterative.

        Args:
            optim_wrapper (OptimWrapper): Runs the backward passes.
            no_sync (Callable): Makes the context of passes that do not exchange gradients.
        """
        def backward(loss: Tensor, **options: Any) -> None:
            count = optim_wrapper._inner_count
            # Autocast is for the forward pass.
            with no_sync(), torch.autocast(loss.device.type, enabled=False):
                optim_wrapper.backward(optim_wrapper.scale_loss(loss), **options)
            # It is one iteration, however many passes it has.
            optim_wrapper._inner_count = count

        self._backward = backward if self.decode_head.iterative_gradients else None
        try:
            yield
        finally:
            self._backward = None

    def classify_and_compare(self, inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self._backward is None:
            return super().classify_and_compare(inputs, target)
        images = inputs.detach()
        with self.decode_head.record(images) as record:
            logits = self.classify(images)
        with torch.no_grad():
            maps = self.decode_head(record, images, logits)
        loss = self.compare(maps.requires_grad_(), target)
        gradient, = torch.autograd.grad(loss, maps)
        last = self.decode_head.backward_by_chunks(record, images, logits, gradient, self._backward)
        # The value of the whole loss, with the gradient of what is left
        return logits, loss.detach() + (last - last.detach())


@MODEL_WRAPPERS.register_module()
class IterativeDataParallel(MMDistributedDataParallel):
    """Distributed training of models with several backward passes per iteration, of which the last exchanges gradients.

    Args:
        module (UnrolledLRPSegmentor): The model.
        **kwargs: As for :class:`mmengine.model.MMDistributedDataParallel`.
    """

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        with self.module.stepping(optim_wrapper, self.no_sync):
            return super().train_step(data, optim_wrapper)
