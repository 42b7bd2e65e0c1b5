"""VAE and UNet of latent diffusion models, by diffusers: built from arguments, or read from a folder in its layout."""
import json
from pathlib import Path
from typing import Any, Mapping, Union

import torch
from torch import Tensor, nn

from mmfss.utils.checkpoint import CheckpointError, load_from_local
from .kv_fusion import KVFusionProcessor, RoutedConv, checkpointed

Source = Union[Mapping[str, Any], str, Path]
WEIGHTS = ('diffusion_pytorch_model.safetensors', 'diffusion_pytorch_model.bin')


def import_diffusers() -> Any:
    """Import diffusers.

    Raises:
        ImportError: With the command that installs it.
    """
    try:
        import diffusers
    except ImportError as error:
        raise ImportError(f'DiffewS needs "diffusers", which cannot be imported ({error}). Install it with: '
                          'pip install "mmfss[diffews]"') from error
    return diffusers


def build_vae(source: Source) -> nn.Module:
    """Build an ``AutoencoderKL`` from its arguments, or from a folder that holds its config and weights."""
    cls = import_diffusers().AutoencoderKL
    if isinstance(source, (str, Path)):
        return load_folder(cls(**folder_config(source)), source)
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
    return load_folder(unet, source) if in_folder else unet


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


def reference_weights(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Compute the initial weights of ``conv_in_ref`` from those of ``conv_in``."""
    return dict(weight=torch.cat((weight, weight), dim=1) / 2, bias=bias.clone())


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


def folder_config(folder: Union[str, Path]) -> dict[str, Any]:
    """Read the arguments of a model from ``config.json`` of a folder in diffusers' layout."""
    path = Path(folder).expanduser() / 'config.json'
    if not path.is_file():
        raise FileNotFoundError(f'The folder "{folder}" is not one of a diffusers model: it has no config.json.')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'"{path}" is not JSON: {error}.') from error
    return {name: value for name, value in content.items() if not name.startswith('_')}


def folder_weights(folder: Union[str, Path]) -> dict[str, Tensor]:
    """Read the weights of a folder in diffusers' layout: ``.safetensors`` first, else ``.bin`` without its code."""
    paths = [Path(folder).expanduser() / name for name in WEIGHTS]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f'The folder "{folder}" has no weights: neither {" nor ".join(WEIGHTS)}.')
    if path.suffix == '.bin':
        return load_from_local(path, map_location='cpu')
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f'"{path}" is not a safetensors file, or is cut short ({error}).') from error


def load_folder(model: nn.Module, folder: Union[str, Path]) -> nn.Module:
    """Load the weights of a folder into a model, which must have the same names and shapes."""
    load_exactly(model, folder_weights(folder), str(folder))
    return model


def load_exactly(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load weights of the same names and shapes, in the precision of the model.

    Raises:
        CheckpointError: If they differ; for a UNet without ``conv_in_ref`` it says how that is made.
    """
    weights = modern_names(weights)
    own = model.state_dict()
    missing, unexpected = ([name for name in a if name not in b] for a, b in ((own, weights), (weights, own)))
    if missing and all(name.startswith('conv_in_ref.') for name in missing) and not unexpected:
        raise CheckpointError(f'The UNet in "{source}" has no conv_in_ref, the input convolution of supports: it is one '
                              'of plain Stable Diffusion. tools/model_converters/diffews2mmfss.py adds it.')
    shapes = [f'{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}' for name, value in own.items()
              if name in weights and weights[name].shape != value.shape]
    if missing or unexpected or shapes:
        parts = [f'{len(names)} {what}, first {names[0]}' for names, what in (
            (missing, 'missing'), (unexpected, 'not in the model'), (shapes, 'of another shape')) if names]
        raise CheckpointError(f'The weights in "{source}" are not those of its config.json: {"; ".join(parts)}.')
    model.load_state_dict(weights)


def modern_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the VAE's attention weights of early diffusers files: query, key, value, proj_attn."""
    renamed = {'query': 'to_q', 'key': 'to_k', 'value': 'to_v', 'proj_attn': 'to_out.0'}

    def rename(name: str) -> str:
        head, _, tail = name.rpartition('.')
        head, dot, part = head.rpartition('.')
        is_old = '.mid_block.attentions.' in f'.{name}' and part in renamed
        return f'{head}{dot}{renamed[part]}.{tail}' if is_old else name

    # These files store linear maps as 1 x 1 convolutions.
    return {rename(name): x[..., 0, 0] if rename(name) != name and x.ndim == 4 else x for name, x in weights.items()}


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Turn arguments of a config file into plain containers, which diffusers stores."""
    return {name: list(value) if isinstance(value, (list, tuple)) else value for name, value in dict(arguments).items()}
