"""The text encoder's embedding of the empty prompt, which a UNet of Stable Diffusion reads in place of a text."""
from pathlib import Path
from typing import Optional, Union

import numpy as np
import torch
from torch import Tensor

from mmfss.utils.checkpoint import load_from_local

MAX_TOKENS = 77


def read_text_embedding(path: Union[str, Path, None], tokens: int, width: int) -> Tensor:
    """Read the embedding of a text.

    Args:
        path (str | Path, optional): A ``.npy`` file of an array, or a checkpoint with the entry ``text_embed``, as
            ``tools/model_converters/diffews2mmfss.py`` writes it. None gives zeros.
        tokens (int): Tokens that are needed.
        width (int): Width C of the UNet's text input.

    Returns:
        Tensor: Shape (1, T, C) with T >= ``tokens``, float32.

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
    return embedding


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
