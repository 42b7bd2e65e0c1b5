"""VAE and UNet of latent diffusion models, by diffusers: built from arguments, or read from a folder in its layout."""
from pathlib import Path
from typing import Any, Mapping, Union

import torch
from torch import nn

from mmfss.utils.diffusers_files import (
    checked_weights,
    folder_config,
    folder_weights,
    import_diffusers,
    reference_weights,
)
from .kv_fusion import KVFusionProcessor, RoutedConv, checkpointed

Source = Union[Mapping[str, Any], str, Path]


def build_vae(source: Source) -> nn.Module:
    """Build an ``AutoencoderKL`` from its arguments, or from a folder that holds its config and weights."""
    cls = import_diffusers().AutoencoderKL
    if isinstance(source, (str, Path)):
        return _loaded(cls(**folder_config(source)), source)
    return cls(**_plain(source))


def build_unet(source: Source) -> nn.Module:
    """Build a ``UNet2DConditionModel`` with a second input convolution and KV fusion in all its self-attention.

    ``conv_in_ref`` reads the latents of a support and of its mask. It begins as half of ``conv_in`` for each, so that a
    support whose mask equals its image is read as the UNet reads an image.

    Args:
        source (Mapping | str | Path): Arguments of the class, or a folder that holds its config and weights. Also
            ``in_channels_ref``, twice ``in_channels`` by default.

    Returns:
        nn.Module: The UNet; names of its weights are those of the official implementation.

    Raises:
        FileNotFoundError: If the folder lacks config or weights.
        CheckpointError: If its weights are not those of the config, or lack ``conv_in_ref``.
        ValueError: If ``in_channels_ref`` is not twice ``in_channels``, or no layer has self-attention.
    """
    in_folder = isinstance(source, (str, Path))
    config = folder_config(source) if in_folder else _plain(source)
    in_channels = config.get('in_channels', 4)
    if config.pop('in_channels_ref', 2 * in_channels) != 2 * in_channels:
        raise ValueError(f'The second input convolution reads the latents of image and mask: in_channels_ref must be '
                         f'{2 * in_channels}, twice in_channels.')
    unet = add_reference_conv(import_diffusers().UNet2DConditionModel(**config))
    layers = fused_attentions(unet)
    if not layers:
        raise ValueError('The UNet has no self-attention, so that nothing of a support could be read: use blocks such '
                         'as CrossAttnDownBlock2D.')
    for number, attention in enumerate(layers.values()):
        attention.set_processor(KVFusionProcessor(number))
    return _loaded(unet, source) if in_folder else unet


def add_reference_conv(unet: nn.Module) -> nn.Module:
    """Add ``conv_in_ref`` to a UNet, initialized from ``conv_in``."""
    conv = unet.conv_in
    options = dict(kernel_size=conv.kernel_size, padding=conv.padding)
    routed = RoutedConv(conv.in_channels, conv.out_channels, **options)
    routed.weight, routed.bias = conv.weight, conv.bias
    unet.conv_in = routed
    unet.conv_in_ref = nn.Conv2d(2 * conv.in_channels, conv.out_channels, **options)
    with torch.no_grad():
        for name, value in reference_weights(conv.weight, conv.bias).items():
            getattr(unet.conv_in_ref, name).copy_(value)
    return unet


def fused_attentions(unet: nn.Module) -> dict[str, nn.Module]:
    """Return the self-attention of all transformer blocks by name, in network order."""
    order = {'down_blocks': 0, 'mid_block': 1, 'up_blocks': 2}
    found = [(f'{name}.attn1', module.attn1) for name, module in unet.named_modules()
             if type(module).__name__ == 'BasicTransformerBlock' and not module.only_cross_attention]
    return dict(sorted(found, key=lambda item: order.get(item[0].split('.')[0], 1)))


def use_checkpointing(unet: nn.Module) -> None:
    """Let a UNet compute its blocks again in the backward pass, in the mode of their pass."""
    unet.enable_gradient_checkpointing(checkpointed)


def vae_factor(vae: nn.Module) -> int:
    """Return by how much a VAE reduces the sides of an image."""
    return 2**(len(vae.config.block_out_channels) - 1)


def unet_factor(unet: nn.Module) -> int:
    """Return by how much a UNet reduces the sides of latents."""
    return 2**(len(unet.config.block_out_channels) - 1)


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Turn arguments of a config file into plain containers, which diffusers stores."""
    return {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in dict(arguments).items()}


def _loaded(model: nn.Module, folder: Union[str, Path]) -> nn.Module:
    """Load the weights of a folder into a model, in the model's precision."""
    model.load_state_dict(checked_weights(model.state_dict(), folder_weights(folder), str(folder)))
    return model
