"""Relevance propagation through a chain of layers."""
from typing import Callable, Iterator, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmfss.utils.config_options import ConfigError
from .chains import Chain, Layer, Residual
from .recorder import ForwardRecord, Recorded
from .rules import (
    BN_DETACH,
    UNPOOL,
    ConvShape,
    relprop_avgpool,
    relprop_batchnorm,
    relprop_batchnorm_alphabeta,
    relprop_conv,
    relprop_conv_alphabeta,
    relprop_conv_bounded,
    relprop_linear,
    relprop_linear_alphabeta,
    relprop_maxpool,
    split_residual,
)


class RelevanceWalk:
    """Walk relevance from the end of a chain to its start.

    Args:
        epsilon (float): Of the epsilon rule.
        alpha (float, optional): 1 or more: the alpha-beta rule (beta = alpha - 1) in place of the epsilon rule.
        unpool (str): ``'last'`` (as published) or ``'sum'``, see :func:`relprop_maxpool`.
        bn_detach (str): ``'ratio'`` (as published), ``'stat'`` or ``'none'``, see :func:`relprop_batchnorm`.
        weight_back (Callable): Weight of a layer in the backward direction, None for its own (tied).

    Raises:
        ConfigError: If an option is wrong.
    """

    def __init__(self, epsilon: float = 1e-8, alpha: Optional[float] = None, unpool: str = 'last',
                 bn_detach: str = 'ratio',
                 weight_back: Callable[[Layer], Optional[Tensor]] = lambda layer: None) -> None:
        for name, value, choices in (('unpool', unpool, UNPOOL), ('bn_detach', bn_detach, BN_DETACH)):
            if value not in choices:
                raise ConfigError(f'model.decode_head.{name} must be one of {", ".join(choices)}, got {value!r}.')
        if epsilon < 0:
            raise ConfigError(f'model.decode_head.epsilon must be 0 or more, got {epsilon}.')
        if alpha is not None and alpha < 1:
            raise ConfigError(f'model.decode_head.alpha must be 1 or more (beta = alpha - 1), got {alpha}.')
        self.epsilon, self.alpha, self.unpool, self.bn_detach = epsilon, alpha, unpool, bn_detach
        self.weight_back = weight_back

    def __call__(self, chain: Chain, record: ForwardRecord, relevance: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Walk.

        Args:
            chain (list): The network.
            record (ForwardRecord): A forward pass of it on N images.
            relevance (Tensor): Of the last layer's output, for k classes, shape (k, N, K).

        Yields:
            tuple[str, Tensor]: From the last layer or block to the first, its name and the relevance at its input,
            shape (k, N, ...).
        """
        for step in reversed(chain):
            rule = self._through_block if isinstance(step, Residual) else self._through_layer
            relevance = rule(step, record, relevance)
            yield step.name, relevance

    def _through_block(self, block: Residual, record: ForwardRecord, relevance: Tensor) -> Tensor:
        main = record[block.main[-1].module].output
        # The shortcut's output: that of its batch norm, or the block's input
        shortcut = record[block.shortcut[-1].module].output if block.shortcut else record[block.main[0].module].input
        of_main, of_shortcut = split_residual(relevance, main, shortcut)
        for layer in reversed(block.main):
            of_main = self._through_layer(layer, record, of_main)
        for layer in reversed(block.shortcut):
            of_shortcut = self._through_layer(layer, record, of_shortcut)
        return of_main + of_shortcut

    def _through_layer(self, layer: Layer, record: ForwardRecord, relevance: Tensor) -> Tensor:
        module, entry = layer.module, record[layer.module]
        if isinstance(module, _BatchNorm):
            return self._through_norm(layer, entry, relevance)
        if isinstance(module, nn.MaxPool2d):
            with torch.no_grad():
                indices = F.max_pool2d(entry.input, module.kernel_size, module.stride, module.padding,
                                       module.dilation, module.ceil_mode, return_indices=True)[1]
            return relprop_maxpool(relevance, indices, entry.input.shape[2:], self.unpool)
        if isinstance(module, nn.AdaptiveAvgPool2d):
            size = (module.output_size, ) * 2 if isinstance(module.output_size, int) else module.output_size
            # What follows the pooling has taken its maps as vectors.
            maps = relevance.reshape(*relevance.shape[:2], -1, *size)
            return relprop_avgpool(maps, entry.input, size)
        return self._through_weights(layer, entry, relevance)

    def _through_norm(self, layer: Layer, entry: Recorded, relevance: Tensor) -> Tensor:
        module = layer.module
        if self.alpha is not None:
            return relprop_batchnorm_alphabeta(relevance, entry.input, module.weight)
        y = entry.output.relu() if layer.relu else entry.output
        return relprop_batchnorm(relevance, entry.input, y, module.weight, entry.variance, module.eps, self.bn_detach)

    def _through_weights(self, layer: Layer, entry: Recorded, relevance: Tensor) -> Tensor:
        module, weight, bias = layer.module, layer.module.weight, layer.module.bias
        conv = isinstance(module, nn.Conv2d)
        if self.alpha is not None:
            if not conv:
                return relprop_linear_alphabeta(relevance, entry.input, weight, self.alpha)
            if module.in_channels == 3:
                return relprop_conv_bounded(relevance, entry.input, weight, ConvShape.of(module))
            return relprop_conv_alphabeta(relevance, entry.input, weight, ConvShape.of(module), self.alpha)
        # The output of the forward pass serves, unless the bias must be kept out of its gradient.
        output = entry.output if bias is None else None
        rest = dict(epsilon=self.epsilon, output=output, weight_back=self.weight_back(layer))
        if conv:
            return relprop_conv(relevance, entry.input, weight, bias, ConvShape.of(module), **rest)
        return relprop_linear(relevance, entry.input, weight, bias, **rest)
