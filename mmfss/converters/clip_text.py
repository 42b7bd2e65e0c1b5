"""The text encoder of CLIP, as far as embedding a few tokens once needs it; transformers is not."""
from typing import Any, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.utils.checkpoint import CheckpointError

PREFIX = 'text_model.'
ACTIVATIONS = dict(gelu=F.gelu, quick_gelu=lambda x: x * torch.sigmoid(1.702 * x))


@torch.no_grad()
def embed_tokens(config: Mapping[str, Any], weights: Mapping[str, Tensor], tokens: Sequence[int]) -> Tensor:
    """Compute the last hidden states of tokens, after the final norm.

    A transformer with norms before attention and MLP; a token sees itself and those before it, padding included.

    Args:
        config (Mapping): ``config.json`` of a ``CLIPTextModel``.
        weights (Mapping): Its state dict.
        tokens (Sequence[int]): T token ids.

    Returns:
        Tensor: Shape (1, T, C).

    Raises:
        CheckpointError: If weights are missing, or the activation is unknown.
    """
    weights = {name.removeprefix(PREFIX): x for name, x in weights.items()}
    if config.get('hidden_act') not in ACTIVATIONS:
        raise CheckpointError(f'The text encoder has the activation {config.get("hidden_act")!r}; known are '
                              f'{", ".join(ACTIVATIONS)}.')
    try:
        embeddings = weights['embeddings.token_embedding.weight'][torch.tensor(tokens)]
        x = embeddings + weights['embeddings.position_embedding.weight'][:len(tokens)]
        for layer in range(config['num_hidden_layers']):
            x = _block(x, _Part(weights, f'encoder.layers.{layer}.', config))
        return _Part(weights, '', config).norm(x, 'final_layer_norm')[None]
    except KeyError as error:
        raise CheckpointError(f'The text encoder has no {error}: it is not a CLIPTextModel.') from error


class _Part:
    """Weights of one layer."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str, config: Mapping[str, Any]) -> None:
        self.weights, self.prefix, self.config = weights, prefix, config

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, *(self.weights[f'{self.prefix}{name}.{kind}'] for kind in ('weight', 'bias')))

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (self.weights[f'{self.prefix}{name}.{kind}'] for kind in ('weight', 'bias'))
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.config.get('layer_norm_eps', 1e-5))


def _block(x: Tensor, part: _Part) -> Tensor:
    """One transformer block on (T, C)."""
    normed = part.norm(x, 'layer_norm1')
    query, key, value = (part.linear(normed, f'self_attn.{name}_proj').unflatten(
        -1, (part.config['num_attention_heads'], -1)).transpose(0, 1) for name in 'qkv')
    attended = F.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(0, 1).flatten(1)
    x = x + part.linear(attended, 'self_attn.out_proj')
    hidden = ACTIVATIONS[part.config['hidden_act']](part.linear(part.norm(x, 'layer_norm2'), 'mlp.fc1'))
    return x + part.linear(hidden, 'mlp.fc2')
