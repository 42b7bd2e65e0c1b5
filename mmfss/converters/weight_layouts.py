"""Names and shapes of the entries in published checkpoints, in the order they are stored."""
from typing import Dict, Iterator, List, Sequence, Tuple

import torch

Shape = Tuple[int, ...]
Layout = Dict[str, Shape]

DCAMA_BACKBONES = ('resnet50', 'resnet101', 'swin')
HSNET_BACKBONES = ('resnet50', 'resnet101', 'vgg16')
DMTNET_BACKBONES = ('resnet50', 'vgg16')

_BACKBONE_PREFIX = 'feature_extractor.'
_HEAD_PREFIX = 'model.'
# Channels and number of blocks at the strides 4, 8, 16 and 32.
_FEATURES = dict(
    resnet50=((256, 512, 1024, 2048), (3, 4, 6, 3)),
    resnet101=((256, 512, 1024, 2048), (3, 4, 23, 3)),
    swin=((128, 256, 512, 1024), (2, 2, 18, 2)))
# Kernels of the three convolutions in conv1 (stride 32), conv2 (16), conv3 (8), conv4 and conv5 (merging).
_CONV_KERNELS = ((3, 3, 3), (5, 3, 3), (5, 5, 3), (3, 3, 3), (3, 3, 3))
_MAX_POSITIONS = 10000
# Compared layers at the strides 32, 16 and 8; channels of DMTNet's references from fine to coarse.
_CORRELATED = dict(resnet50=(3, 6, 4), resnet101=(3, 23, 4), vgg16=(1, 3, 3))
_REFERENCE_CHANNELS = dict(resnet50=(512, 1024, 2048), vgg16=(512, 512, 512))


def resnet_layout(depth: int) -> Layout:
    """List the entries of torchvision's ResNet.

    Args:
        depth (int): 18, 34, 50, 101 or 152.

    Returns:
        dict: Name to shape.
    """
    import torchvision  # takes most of a second

    with torch.device('meta'):
        model = getattr(torchvision.models, f'resnet{depth}')()
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def vgg_layout(depth: int) -> Layout:
    """List the entries of torchvision's VGG without batch norm.

    Args:
        depth (int): 11, 13, 16 or 19.

    Returns:
        dict: Name to shape.
    """
    import torchvision

    with torch.device('meta'):
        model = getattr(torchvision.models, f'vgg{depth}')()
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def swin_layout(embed_dims: int, depths: Sequence[int], num_heads: Sequence[int], window_size: int,
                image_size: int) -> Layout:
    """List the entries of Microsoft's Swin Transformer with patches of 4 pixels, without the classifier.

    Args:
        embed_dims (int): Channels of the first stage, C.
        depths (Sequence[int]): Blocks of each stage.
        num_heads (Sequence[int]): Attention heads of each stage.
        window_size (int): Side of a window in tokens.
        image_size (int): Side of the training images; the attention masks in the file depend on it.

    Returns:
        dict: Name to shape.
    """
    layout = {'patch_embed.proj.weight': (embed_dims, 3, 4, 4), 'patch_embed.proj.bias': (embed_dims, )}
    layout.update(_norm('patch_embed.norm', embed_dims))
    for stage, (depth, heads) in enumerate(zip(depths, num_heads)):
        side, channels = image_size // 4 >> stage, embed_dims << stage
        for index in range(depth):
            block = f'layers.{stage}.blocks.{index}'
            if index % 2 and side > window_size:
                layout[f'{block}.attn_mask'] = ((side // window_size)**2, window_size**2, window_size**2)
            layout.update(_swin_block(block, channels, heads, window_size))
        if stage < len(depths) - 1:
            layout[f'layers.{stage}.downsample.reduction.weight'] = (2 * channels, 4 * channels)
            layout.update(_norm(f'layers.{stage}.downsample.norm', 4 * channels))
    return {**layout, **_norm('norm', embed_dims << (len(depths) - 1))}


def dcama_layout(backbone: str) -> Layout:
    """List the entries of the official DCAMA implementation's model, backbone included.

    Args:
        backbone (str): 'resnet50', 'resnet101' or 'swin' (base, window 12, 384 pixels).

    Returns:
        dict: Name (without ``module.``) to shape.
    """
    if backbone == 'swin':
        layout = swin_layout(128, (2, 2, 18, 2), (4, 8, 16, 32), window_size=12, image_size=384)
        layout.update(_linear('head', 1024, 1000))
    else:
        layout = resnet_layout(int(backbone[len('resnet'):]))
    channels, counts = _FEATURES[backbone]
    head = dict(_dcama_head(channels, counts))
    return {
        **{_BACKBONE_PREFIX + name: shape for name, shape in layout.items()},
        **{_HEAD_PREFIX + name: shape for name, shape in head.items()}
    }


def hsnet_layout(backbone: str) -> Layout:
    """List the entries of the official HSNet implementation's model, backbone included.

    Args:
        backbone (str): 'resnet50', 'resnet101' or 'vgg16'.

    Returns:
        dict: Name (without ``module.``) to shape.
    """
    layout = vgg_layout(16) if backbone == 'vgg16' else resnet_layout(int(backbone[len('resnet'):]))
    return {
        **{f'backbone.{name}': shape for name, shape in layout.items()},
        **{f'hpn_learner.{name}': shape for name, shape in _hpn_learner(_CORRELATED[backbone])}
    }


def dmtnet_layout(backbone: str) -> Layout:
    """List the entries of the official DMTNet implementation's model, backbone included.

    Args:
        backbone (str): 'resnet50' or 'vgg16'.

    Returns:
        dict: Name (without ``module.``) to shape.
    """
    layout = hsnet_layout(backbone)
    for place, channels in enumerate(2 * _REFERENCE_CHANNELS[backbone], start=1):
        layout.update(_linear(f'reference_layer{place}', channels, 2))
    return layout


def _hpn_learner(num_layers: Sequence[int]) -> Iterator[Tuple[str, Shape]]:
    widths = [[count, 16, 64, 128] for count in num_layers] + [[128] * 4] * 2
    for name, steps, kernels in zip(('4', '3', '2', '4to3', '3to2'), widths, _CONV_KERNELS):
        for step, kernel in enumerate(kernels):
            block = f'encoder_layer{name}'
            for conv in ('conv1', 'conv2'):
                yield from _conv(f'{block}.{3 * step}.{conv}', steps[step], steps[step + 1], kernel).items()
            yield from _norm(f'{block}.{3 * step + 1}', steps[step + 1]).items()
    for name, steps in (('decoder1', (128, 128, 64)), ('decoder2', (64, 64, 2))):
        for step in (0, 1):
            yield from _conv(f'{name}.{2 * step}', steps[step], steps[step + 1], 3).items()


def _dcama_head(channels: Sequence[int], counts: Sequence[int]) -> Iterator[Tuple[str, Shape]]:
    for block, width in enumerate(channels[1:]):
        for projection in (0, 1):
            yield from _linear(f'DCAMA_blocks.{block}.linears.{projection}', width, width).items()
    for block, width in enumerate(channels[1:]):
        yield f'pe.{block}.pe', (1, _MAX_POSITIONS, width)
    widths = [[count, 16, 64, 128] for count in counts[:0:-1]] + [[128] * 4] * 2
    for index, (steps, kernels) in enumerate(zip(widths, _CONV_KERNELS), start=1):
        for step, kernel in enumerate(kernels):
            yield from _conv(f'conv{index}.{3 * step}', steps[step], steps[step + 1], kernel).items()
            yield from _norm(f'conv{index}.{3 * step + 1}', steps[step + 1]).items()
    for index, steps in enumerate(_mixer_widths(channels), start=1):
        for step in (0, 1):
            yield from _conv(f'mixer{index}.{2 * step}', steps[step], steps[step + 1], 3).items()


def _mixer_widths(channels: Sequence[int]) -> List[Tuple[int, int, int]]:
    return [(128 + 2 * channels[0] + 2 * channels[1], 128, 64), (64, 64, 16), (16, 16, 2)]


def _swin_block(name: str, channels: int, heads: int, window_size: int) -> Layout:
    return {
        **_norm(f'{name}.norm1', channels),
        f'{name}.attn.relative_position_bias_table': ((2 * window_size - 1)**2, heads),
        f'{name}.attn.relative_position_index': (window_size**2, window_size**2),
        **_linear(f'{name}.attn.qkv', channels, 3 * channels),
        **_linear(f'{name}.attn.proj', channels, channels),
        **_norm(f'{name}.norm2', channels),
        **_linear(f'{name}.mlp.fc1', channels, 4 * channels),
        **_linear(f'{name}.mlp.fc2', 4 * channels, channels),
    }


def _linear(name: str, c_in: int, c_out: int) -> Layout:
    return {f'{name}.weight': (c_out, c_in), f'{name}.bias': (c_out, )}


def _conv(name: str, c_in: int, c_out: int, kernel: int) -> Layout:
    return {f'{name}.weight': (c_out, c_in, kernel, kernel), f'{name}.bias': (c_out, )}


def _norm(name: str, channels: int) -> Layout:
    return {f'{name}.weight': (channels, ), f'{name}.bias': (channels, )}
