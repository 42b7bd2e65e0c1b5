"""Files of diffusers models: configs and weights in folders, and embeddings of texts."""
import json
from pathlib import Path
from typing import Any, Mapping, Union

import numpy as np
import torch
from torch import Tensor

from .checkpoint import CheckpointError, load_from_local

WEIGHTS = ('diffusion_pytorch_model.safetensors', 'diffusion_pytorch_model.bin')
MAX_TOKENS = 77
"""Tokens of a padded text."""


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


def checked_weights(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return weights under today's names, which must be those of a model.

    Args:
        own (Mapping): State dict of the model, of which names and shapes count.
        weights (Mapping): What was read.
        source (str): The folder, for the error.

    Raises:
        CheckpointError: If they differ; for a UNet without ``conv_in_ref`` it says how that is made.
    """
    weights = modern_names(weights)
    missing, unexpected = ([name for name in a if name not in b] for a, b in ((own, weights), (weights, own)))
    if missing and all(name.startswith('conv_in_ref.') for name in missing) and not unexpected:
        raise CheckpointError(f'The UNet in "{source}" has no conv_in_ref, the input convolution of supports: it is '
                              'one of plain Stable Diffusion. tools/model_converters/diffews2mmfss.py adds it.')
    shapes = [f'{name} is {tuple(weights[name].shape)}, not {tuple(value.shape)}' for name, value in own.items()
              if name in weights and weights[name].shape != value.shape]
    if missing or unexpected or shapes:
        parts = [f'{len(names)} {what}, first {names[0]}' for names, what in (
            (missing, 'missing'), (unexpected, 'not in the model'), (shapes, 'of another shape')) if names]
        raise CheckpointError(f'The weights in "{source}" are not those of its config.json: {"; ".join(parts)}.')
    return weights


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


def reference_weights(weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Compute the initial weights of ``conv_in_ref`` from those of ``conv_in``."""
    return dict(weight=torch.cat((weight, weight), dim=1) / 2, bias=bias.clone())


def read_text_embedding(path: Union[str, Path, None], tokens: int, width: int) -> Tensor:
    """Read the embedding of a text.

    Args:
        path (str | Path, optional): A ``.npy`` file of an array, or a checkpoint with the entry ``text_embed``, as
            ``tools/model_converters/diffews2mmfss.py`` writes it. None gives zeros.
        tokens (int): Tokens that are needed.
        width (int): Width C of the UNet's text input.

    Returns:
        Tensor: Shape (1, tokens, C), float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its shape is another.
    """
    if not 1 <= tokens <= MAX_TOKENS:
        raise ValueError(f'text_tokens must be between 1 and {MAX_TOKENS}, got {tokens}.')
    if path is None:
        return torch.zeros(1, tokens, width)
    embedding = _read(Path(path).expanduser()).float()
    embedding = embedding[None] if embedding.ndim == 2 else embedding
    if embedding.ndim != 3 or len(embedding) != 1 or embedding.shape[2] != width or embedding.shape[1] < tokens:
        raise ValueError(f'The text embedding "{path}" has shape {tuple(embedding.shape)}; the UNet reads {tokens} '
                         f'tokens of width {width} (text_tokens, unet.cross_attention_dim).')
    return embedding[:, :tokens]


def _read(path: Path) -> Tensor:
    if not path.is_file():
        raise FileNotFoundError(f'The text embedding "{path}" (text_embed) does not exist.')
    if path.suffix == '.npy':
        return torch.from_numpy(np.load(path, allow_pickle=False))
    content = load_from_local(path, map_location='cpu')
    content = content.get('state_dict', content)
    if 'text_embed' not in content:
        raise ValueError(f'The file "{path}" has no entry "text_embed"; it holds {", ".join(list(content)[:3])}.')
    return content['text_embed']
