"""Conversion of Stable Diffusion 2.1 and of published DiffewS weights to one checkpoint of this package.

The result holds ``unet.*``, ``vae.*`` and ``text_embed``, as :class:`mmfss.models.DiffewsSegmentor` names them.
"""
import json
from pathlib import Path
from typing import Any, Mapping, Optional

import torch
from torch import Tensor

from mmfss.utils.checkpoint import CheckpointError, load_from_local
from mmfss.utils.diffusers_files import (
    MAX_TOKENS,
    checked_weights,
    folder_config,
    folder_weights,
    import_diffusers,
    read_text_embedding,
    reference_weights,
)
from .clip_text import embed_tokens

TEXT_WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
EMPTY_PROMPT = [49406, 49407] + [0] * (MAX_TOKENS - 2)
"""Token ids of the empty prompt, padded as in DiffewS's training: start, end, and padding."""


def convert_diffews(base: Path, finetuned: Optional[Path] = None,
                    text_embed: Optional[Path] = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights of a model from folders in diffusers' layout.

    Args:
        base (Path): Folder of Stable Diffusion 2.1 (``vae``, ``unet``, ``text_encoder``).
        finetuned (Path, optional): Folder of a published DiffewS UNet: the UNet's own, or one with ``unet`` or
            ``unet/unet`` inside. By default the UNet of ``base``, whose ``conv_in_ref`` is made from ``conv_in`` if it
            has none: the start of a training.
        text_embed (Path, optional): File of the empty prompt's embedding; by default it is computed with
            ``text_encoder`` of the base.

    Returns:
        tuple: The state dict, and ``meta``: where each part is from.

    Raises:
        FileNotFoundError: If a folder or a file is missing.
        CheckpointError: If weights are not those of their config.
    """
    unet_folder = find_unet(finetuned) if finetuned is not None else base / 'unet'
    width = folder_config(unet_folder).get('cross_attention_dim')
    unet, made = read_unet(unet_folder, may_lack_reference=finetuned is None)
    vae_folder = base / 'vae'
    vae = checked_weights(_names('AutoencoderKL', vae_folder), folder_weights(vae_folder), str(vae_folder))
    # The text
    if text_embed is not None:
        text, source = read_text_embedding(text_embed, MAX_TOKENS, width), text_embed.name
    else:
        text, source = embed_tokens(*read_text_encoder(base / 'text_encoder'), EMPTY_PROMPT), 'text_encoder'
    if text.shape[2] != width:
        raise CheckpointError(f'The text embedding ({source}) has width {text.shape[2]}, but the UNet in '
                              f'"{unet_folder}" reads {width}: they belong to different models.')
    # One state dict
    parts = dict(unet=unet, vae=vae)
    weights = {f'{name}.{key}': value.float() for name, part in parts.items() for key, value in part.items()}
    meta = dict(unet=unet_folder.as_posix(), conv_in_ref='made of conv_in' if made else 'read', text_embed=source,
                parameters=sum(value.numel() for value in weights.values()))
    return dict(weights, text_embed=text), meta


def find_unet(folder: Path) -> Path:
    """Find the UNet in a published folder, which may be nested: itself, ``unet``, or ``unet/unet``."""
    places = [folder, folder / 'unet', folder / 'unet' / 'unet']
    found = [place for place in places if (place / 'config.json').is_file()]
    if not found:
        raise FileNotFoundError(f'No UNet in "{folder}": there is no config.json in it, in unet or in unet/unet.')
    return found[-1]


def read_unet(folder: Path, may_lack_reference: bool) -> tuple[dict[str, Tensor], bool]:
    """Read the weights of a UNet; also return whether its ``conv_in_ref`` was made from ``conv_in``."""
    own, weights = _names('UNet2DConditionModel', folder), folder_weights(folder)
    made = reference_weights(own['conv_in.weight'], own['conv_in.bias'])
    own.update({f'conv_in_ref.{name}': value for name, value in made.items()})
    makes = may_lack_reference and 'conv_in_ref.weight' not in weights and 'conv_in.weight' in weights
    if makes:
        made = reference_weights(weights['conv_in.weight'], weights['conv_in.bias'])
        weights.update({f'conv_in_ref.{name}': value for name, value in made.items()})
    return checked_weights(own, weights, str(folder)), makes


def _names(cls: str, folder: Path) -> Mapping[str, Tensor]:
    """Return the state dict that the config of a folder asks for, without content."""
    config = folder_config(folder)
    config.pop('in_channels_ref', None)
    with torch.device('meta'):
        return getattr(import_diffusers(), cls)(**config).state_dict()


def read_text_encoder(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read config and weights of a CLIP text encoder in the layout of transformers."""
    config = folder / 'config.json'
    if not config.is_file():
        raise FileNotFoundError(f'There is no text encoder in "{folder}" to embed the empty prompt: give a file of its '
                                'embedding (--text-embed), or the complete folder of Stable Diffusion 2.1.')
    path = next((folder / name for name in TEXT_WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f'The text encoder "{folder}" has no weights: neither {" nor ".join(TEXT_WEIGHTS)}.')
    if path.suffix == '.bin':
        weights = load_from_local(path, map_location='cpu')
    else:
        from safetensors.torch import load_file
        weights = load_file(path)
    return json.loads(config.read_text(encoding='utf-8')), {name: x.float() for name, x in weights.items()}


def save_checkpoint(weights: dict[str, Tensor], meta: dict[str, Any], path: Path) -> None:
    """Write a checkpoint of this package."""
    torch.save(dict(state_dict=weights, meta=meta), path)
