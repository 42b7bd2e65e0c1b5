"""EfficientNet-Lite from its description, as a function of published weights under their own names."""
from typing import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

# Stride of the first block, number of blocks: Lite1 and Lite2.
GROUPS = ((1, 1), (2, 3), (2, 3), (2, 4), (1, 4), (2, 5), (1, 1))


def _convolution(x: Tensor, weight: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """Padding 'SAME' of TensorFlow: output side = ceil(side / stride), the odd pixel after the image."""
    padding: list[int] = []
    for side, kernel in zip(reversed(x.shape[-2:]), reversed(weight.shape[-2:])):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        padding += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, padding), weight, stride=stride, groups=groups)


def blocks(images: Tensor, weights: Mapping[str, Tensor]) -> list[Tensor]:
    """Outputs of all blocks, and after them the output of the head's convolution; images (B, 3, H, W), normalized."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = (weights[f'{name}.{key}'][:, None, None] for key in ('running_mean', 'running_var'))
        scale, shift = (weights[f'{name}.{key}'][:, None, None] for key in ('weight', 'bias'))
        return (x - mean) / torch.sqrt(variance + 1e-3) * scale + shift

    x = norm(_convolution(images, weights['_conv_stem.weight'], 2), '_bn0').clamp(0, 6)
    outputs: list[Tensor] = []
    for stride, repeats in GROUPS:
        for index in range(repeats):
            name, shortcut = f'_blocks.{len(outputs)}', x
            if f'{name}._expand_conv.weight' in weights:
                x = norm(_convolution(x, weights[f'{name}._expand_conv.weight']), f'{name}._bn0').clamp(0, 6)
            depthwise = weights[f'{name}._depthwise_conv.weight']
            x = _convolution(x, depthwise, 1 if index else stride, groups=len(depthwise))
            x = norm(x, f'{name}._bn1').clamp(0, 6)
            x = norm(_convolution(x, weights[f'{name}._project_conv.weight']), f'{name}._bn2')
            x = x + shortcut if index else x
            outputs.append(x)
    return [*outputs, norm(_convolution(x, weights['_conv_head.weight']), '_bn1').clamp(0, 6)]


def class_logits(images: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Logits (B, 1000) of ImageNet's classes."""
    return blocks(images, weights)[-1].mean((-2, -1)) @ weights['_fc.weight'].T + weights['_fc.bias']
