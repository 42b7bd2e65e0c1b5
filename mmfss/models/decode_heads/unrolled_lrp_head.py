"""Decoders without parameters: the relevance of a classifier's logits, as maps of its classes."""
from abc import abstractmethod
from collections import deque
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Callable, Iterator, Optional, Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.utils.config_options import ConfigError
from ..relevance import Chain, ForwardRecord, GraphCut, Layer, RelevanceWalk, chain_of, layers_of, record_forward


class RelevanceHead(BaseModule):
    """Base class of decoders that explain the logits of a classifier.

    Args:
        chunk (int): Classes that are decoded at once; memory grows with it, and not with K.
        iterative_gradients (bool): In a training step, decode all maps without a graph, then each chunk of classes
            again, with a backward pass of its own (see :class:`UnrolledLRPSegmentor`). The gradient is the same; the
            graph of one chunk is held in place of K classes', for one more pass of the decoder.
    """

    fixes_statistics = False
    """Whether batch norm must work as in evaluation also in training."""
    keeps_graph = False
    """Whether all chunks need the classifier's graph in their backward passes."""

    def __init__(self, chunk: int = 1, iterative_gradients: bool = True) -> None:
        super().__init__()
        if chunk < 1:
            raise ConfigError(f'model.decode_head.chunk must be 1 or more, got {chunk}.')
        self.chunk, self.iterative_gradients = chunk, iterative_gradients

    @abstractmethod
    def attach(self, backbone: nn.Module, cls_head: nn.Module) -> None:
        """Get to know the classifier, once it is built.

        Raises:
            ConfigError: If it cannot be decoded; names the layer.
        """

    @abstractmethod
    def record(self, images: Tensor) -> AbstractContextManager[Any]:
        """Return a context whose value is the record of the classifier's forward pass within it."""

    @abstractmethod
    def decode(self, record: Any, images: Tensor, logits: Tensor, classes: Sequence[int]) -> Tensor:
        """Compute the maps of some classes.

        Args:
            record (Any): See :meth:`record`.
            images (Tensor): As in the record, shape (N, 3, H, W).
            logits (Tensor): Shape (N, K).
            classes (Sequence[int]): k of the K classes.

        Returns:
            Tensor: Shape (N, k, H, W), float32.
        """

    def forward(self, record: Any, images: Tensor, logits: Tensor, classes: Optional[Sequence[int]] = None) -> Tensor:
        """Compute the maps of classes, chunk by chunk.

        Args:
            record (Any): See :meth:`record`.
            images (Tensor): Shape (N, 3, H, W).
            logits (Tensor): Shape (N, K).
            classes (Sequence[int], optional): All by default.

        Returns:
            Tensor: Shape (N, k, H, W), float32: the relevance of each pixel, summed over the colours.

        Raises:
            ValueError: If there is no such class.
        """
        num_classes = logits.shape[1]
        classes = list(range(num_classes)) if classes is None else [int(c) for c in classes]
        if not classes or min(classes) < 0 or max(classes) >= num_classes:
            raise ValueError(f'classes must be some of 0 to {num_classes - 1}, got {classes}.')
        return torch.cat([self.decode(record, images, logits, some) for some in self._chunks(classes)], dim=1)

    def _chunks(self, classes: Sequence[int]) -> list[Sequence[int]]:
        return [classes[start:start + self.chunk] for start in range(0, len(classes), self.chunk)]

    def cut(self, record: Any, logits: Tensor, cut: GraphCut) -> tuple[Any, Tensor]:
        """Part the decoder's graph from the classifier's, where it can be done.

        Args:
            record (Any): See :meth:`record`.
            logits (Tensor): Shape (N, K).
            cut (GraphCut): The cut.

        Returns:
            tuple[Any, Tensor]: Record and logits for the decoder.
        """
        return record, logits

    def backward_by_chunks(self, record: Any, images: Tensor, logits: Tensor, gradient: Tensor,
                           backward: Callable[..., None]) -> Tensor:
        """Run backward, given the gradient of the maps, one chunk of classes after the other; leave the last one.

        If the decoder's graph can be parted from the classifier's, a chunk's backward pass ends at the record, and the
        pass of the last chunk takes along what has arrived there: the classifier is run backward once.

        Args:
            record (Any): See :meth:`record`.
            images (Tensor): Shape (N, 3, H, W).
            logits (Tensor): Shape (N, K).
            gradient (Tensor): Of a loss for the maps of all classes, shape (N, K, H, W).
            backward (Callable): Runs the backward pass of a scalar, with options of :meth:`torch.Tensor.backward`.

        Returns:
            Tensor: A scalar, whose backward pass completes the gradient of that loss.
        """
        def part(record: Any, logits: Tensor, classes: Sequence[int]) -> Tensor:
            return (self.decode(record, images, logits, classes) * gradient[:, list(classes)]).sum()

        cut = GraphCut()
        apart = self.cut(record, logits, cut)
        *others, last = self._chunks(range(logits.shape[1]))
        for classes in others:
            backward(part(*apart, classes), retain_graph=self.keeps_graph)
        cut.join()
        return part(record, logits, last)


@MODELS.register_module()
class UnrolledLRPHead(RelevanceHead):
    """Decode a classifier by layer-wise relevance propagation, with the classifier's own weights (Yu et al., 2024).

    There is no parameter here: each weight is read in both directions, and its gradients add up. For ResNet and VGG,
    see :func:`mmfss.models.relevance.chain_of`.

    Args:
        epsilon (float): Of the epsilon rule.
        alpha (float, optional): 1 or more: the alpha-beta rule in place of the epsilon rule.
        unpool (str): ``'last'`` (as published) or ``'sum'``: what overlapping pooling windows with the same maximum do.
            With ``'sum'`` the map of a class is gradient x input.
        bn_detach (str): What of batch norm's rule has no gradient: ``'ratio'`` (as published), ``'stat'``, ``'none'``.
        tied (bool): False gives the backward direction weights of its own, which start as copies of the classifier's
            initial ones: an ablation.
        **kwargs: ``chunk`` and ``iterative_gradients``, see :class:`RelevanceHead`.
    """

    def __init__(self, epsilon: float = 1e-8, alpha: Optional[float] = None, unpool: str = 'last',
                 bn_detach: str = 'ratio', tied: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.walk = RelevanceWalk(epsilon, alpha, unpool, bn_detach, self._weight_back)
        self.tied = tied
        if not tied and alpha is not None:
            raise ConfigError('model.decode_head.tied=False is for the epsilon rule; leave alpha out.')

    def attach(self, backbone: nn.Module, cls_head: nn.Module) -> None:
        # A tuple keeps the classifier's weights from being registered here too.
        self._classifier = backbone, cls_head
        weighted = [layer for layer in layers_of(self.chain) if isinstance(layer.module, (nn.Conv2d, nn.Linear))]
        if not self.tied:
            self.weights = nn.ParameterDict({_key(layer): layer.module.weight.detach().clone() for layer in weighted})

    @property
    def chain(self) -> Chain:
        """list: The classifier as it is now: distributed training replaces its batch norms."""
        return chain_of(*self._classifier)

    def init_weights(self) -> None:
        """Copy the classifier's weights, once they are initialized, if they are not tied."""
        super().init_weights()
        with torch.no_grad():
            for layer in layers_of(self.chain) if not self.tied else ():
                if _key(layer) in self.weights:
                    self.weights[_key(layer)].copy_(layer.module.weight)

    def _weight_back(self, layer: Layer) -> Optional[Tensor]:
        return None if self.tied else self.weights[_key(layer)]

    @contextmanager
    def record(self, images: Tensor) -> Iterator[tuple[Chain, ForwardRecord]]:
        chain = self.chain
        with record_forward([layer.module for layer in layers_of(chain)]) as record:
            yield chain, record

    def cut(self, record: tuple[Chain, ForwardRecord], logits: Tensor,
            cut: GraphCut) -> tuple[tuple[Chain, ForwardRecord], Tensor]:
        chain, layers = record
        return (chain, layers.at(cut)), cut(logits)

    def decode(self, record: tuple[Chain, ForwardRecord], images: Tensor, logits: Tensor,
               classes: Sequence[int]) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            # Nothing but the last step is kept.
            (_, relevance), = deque(self.walk(*record, start_relevance(logits, classes)), maxlen=1)
            return relevance.sum(2).transpose(0, 1)


def _key(layer: Layer) -> str:
    """Name of a layer's own weight of the backward direction; parameters have no dots in their names."""
    return layer.name.replace('.', '_')


def start_relevance(logits: Tensor, classes: Sequence[int]) -> Tensor:
    """Start each of k classes with its logit, and 0 for the others, shape (k, N, K)."""
    chosen = torch.eye(logits.shape[1], device=logits.device, dtype=logits.dtype)[list(classes)]
    relevance = chosen[:, None] * logits
    return relevance.float() if relevance.dtype in (torch.float16, torch.bfloat16) else relevance


@MODELS.register_module()
class GradientInputHead(RelevanceHead):
    """Decode any differentiable classifier by gradient x input, trained by double backward.

    For networks of convolutions, linear layers, ReLU, max and average pooling, and batch norm in eval mode this is LRP
    with ``unpool='sum'``, up to the rule's epsilon; the attribute ``exact`` says so. Elsewhere it is gradient x input
    and not LRP. ReLU6 passes nothing where it saturates: an input at 6 or above gets no relevance. Batch norm works as
    in evaluation during training too.

    Args:
        chunk (int): Classes that share one graph.
        iterative_gradients (bool): See :class:`RelevanceHead`.
    """

    fixes_statistics = True
    keeps_graph = True
    EXACT = (nn.Conv2d, nn.Linear, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout, nn.Identity,
             nn.modules.batchnorm._BatchNorm)

    def attach(self, backbone: nn.Module, cls_head: nn.Module) -> None:
        self.exact = all(isinstance(module, self.EXACT) for part in (backbone, cls_head) for module in part.modules()
                         if next(module.children(), None) is None and not isinstance(module, nn.Sequential))

    @contextmanager
    def record(self, images: Tensor) -> Iterator[None]:
        # The gradient is needed with and without training.
        with torch.enable_grad():
            images.requires_grad_()
            yield None

    def decode(self, record: None, images: Tensor, logits: Tensor, classes: Sequence[int]) -> Tensor:
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            maps = []
            for c in classes:
                gradient, = torch.autograd.grad(logits[:, c].sum(), images, retain_graph=True, create_graph=training)
                maps.append((images * gradient).sum(1))
            stacked = torch.stack(maps, dim=1).float()
        return stacked if training else stacked.detach()
