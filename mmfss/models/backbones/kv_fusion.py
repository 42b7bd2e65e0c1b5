"""KV fusion: the self-attention of a UNet reads keys and values that other images left in the same layer.

A pass of the UNet runs in one of three modes. *Off*: ordinary self-attention. *Write*: the same, and every fused layer
hands out its keys and values. *Read*: the tokens of an image attend to their own keys and to those of a
:class:`KVBank`, in one softmax. The mode belongs to a ``with`` block of one thread (a context variable), not to the
layers: nothing is left behind by an error, and threads may run different passes of one UNet.
"""
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers.pytrees import pytree


@pytree
@dataclass(frozen=True)
class KVBank:
    """Hold the keys and values of B support sets of K images in every fused layer, and their masks.

    Letters: layer l has h_l * w_l tokens for each image, of C_l channels. The size is 2 K B sum_l(h_l w_l C_l) numbers.
    For Stable Diffusion 2.1 and images of 512 x 512 these are 23.1 million for each support: 88 MiB in float32, 44 MiB
    in half precision.

    Attributes:
        keys (tuple[Tensor, ...]): Of each layer in network order, (B, S_l, C_l), shot by shot and in raster order
            within each; S_l = K * h_l * w_l, or fewer if tokens were drawn.
        values (tuple[Tensor, ...]): Of the same shapes.
        sizes (tuple[tuple[int, int], ...]): (h_l, w_l) of each layer.
        masks (Tensor): Support masks (B, K, H, W).
        drawn (tuple[Tensor, ...]): Of each layer the tokens that were kept, as numbers among K * h_l * w_l; empty if
            all were.
    """
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    sizes: tuple[tuple[int, int], ...]
    masks: Tensor
    drawn: tuple[Tensor, ...] = ()

    @property
    def num_shots(self) -> int:
        """K."""
        return self.masks.shape[1]

    @property
    def num_bytes(self) -> int:
        """Memory of keys and values."""
        return sum(x.numel() * x.element_size() for x in (*self.keys, *self.values))

    def map(self, function: Callable[[Tensor], Tensor]) -> 'KVBank':
        """Apply a function to all keys and values."""
        return replace(self, keys=tuple(map(function, self.keys)), values=tuple(map(function, self.values)))

    def to(self, device: Union[torch.device, str, None] = None, dtype: Optional[torch.dtype] = None) -> 'KVBank':
        """Move keys and values; a query pass fetches them layer by layer, in its own precision."""
        return self.map(lambda x: x.to(device=device, dtype=dtype))

    def mask_values(self, layer: int) -> Tensor:
        """Return the mask value of every token of a layer, that of the nearest mask pixel, (B, K * h_l * w_l, 1)."""
        return F.interpolate(self.masks, self.sizes[layer], mode='nearest-exact').flatten(1).unsqueeze(-1)

    def draw(self, seed: int) -> 'KVBank':
        """Keep as many tokens of each layer as one image has, drawn without replacement from those of all K images.

        Keys and values, all heads and all B support sets share the draw, which depends on the seed, the layer and the
        number of tokens alone.
        """
        drawn = []
        for layer, (keys, size) in enumerate(zip(self.keys, self.sizes)):
            generator = torch.Generator().manual_seed(1000 * seed + layer)
            order = torch.randperm(keys.shape[1], generator=generator)[:size[0] * size[1]]
            drawn.append(order.sort().values.to(keys.device))
        keys, values = (tuple(x[:, rows] for x, rows in zip(part, drawn)) for part in (self.keys, self.values))
        return replace(self, keys=keys, values=values, drawn=tuple(drawn))


class SupportsWritten(Exception):
    """Signal: the last fused layer has written, and nothing else of the pass is needed."""


class WritePass:
    """Collect keys and values of all fused layers.

    Args:
        conv (nn.Module): Input convolution of this pass.
        num_layers (int): Number of fused layers.
        stop (bool): Whether the pass ends at the last of them, by :class:`SupportsWritten`.
        repeated (bool): Whether gradient checkpointing computes a part of the pass again, which writes nothing.
    """

    def __init__(self, conv: nn.Module, num_layers: int, stop: bool, repeated: bool = False) -> None:
        self.conv = conv
        self.stop = stop
        self.repeated = repeated
        self.keys: list[Optional[Tensor]] = [None] * num_layers
        self.values: list[Optional[Tensor]] = [None] * num_layers

    def fuse(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's keys and values (B, L, C), and return them."""
        if not self.repeated:
            self.keys[layer], self.values[layer] = key, value
            if self.stop and layer == len(self.keys) - 1:
                raise SupportsWritten
        return key, value

    def again(self) -> 'WritePass':
        """Return the pass in which gradient checkpointing computes a part of this one again."""
        return WritePass(self.conv, len(self.keys), stop=False, repeated=True)

    def bank(self, latent_size: Sequence[int], masks: Tensor) -> KVBank:
        """Return what was written as support sets.

        Args:
            latent_size (Sequence[int]): Size (h, w) of the UNet's input.
            masks (Tensor): Shape (B, K, H, W); the pass was of B * K images, the K of a set together.
        """
        sizes = tuple(layer_size(latent_size, key.shape[1]) for key in self.keys)
        keys, values = (tuple(x.unflatten(0, (-1, masks.shape[1])).flatten(1, 2) for x in part)
                        for part in (self.keys, self.values))
        return KVBank(keys, values, sizes, masks)


class LayerRecord(NamedTuple):
    """Projected queries and own keys of one layer in a read pass, (B, L, C)."""
    query: Tensor
    key: Tensor


class ReadPass:
    """Let every fused layer attend to a bank too.

    Args:
        bank (KVBank): Of B support sets, or of one that serves all queries.
        without (int, optional): A layer that does not read it, so that its softmax runs over own keys alone.
        records (list, optional): Receives a :class:`LayerRecord` of each layer.
    """

    def __init__(self,
                 bank: KVBank,
                 without: Optional[int] = None,
                 records: Optional[list[LayerRecord]] = None) -> None:
        self.bank = bank
        self.without = without
        self.records = records

    def fuse(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Extend a layer's keys and values (B, L, C) by those of the bank."""
        if self.records is not None:
            self.records.append(LayerRecord(query, key))
        if layer == self.without:
            return key, value
        return tuple(torch.cat((own, stored[layer].to(own).expand(len(own), -1, -1)), dim=1)
                     for own, stored in ((key, self.bank.keys), (value, self.bank.values)))

    def again(self) -> 'ReadPass':
        """Return the pass in which gradient checkpointing computes a part of this one again."""
        return ReadPass(self.bank, self.without)


_active: ContextVar[Union[WritePass, ReadPass, None]] = ContextVar('kv_fusion', default=None)


@contextmanager
def running(kv_pass: Union[WritePass, ReadPass, None]) -> Iterator[None]:
    """Run a pass: within the block, and in this thread, fused layers write or read; with None they are off."""
    token = _active.set(kv_pass)
    try:
        yield
    finally:
        _active.reset(token)


class KVFusionProcessor:
    """Processor of diffusers' ``Attention`` that computes self-attention in the mode of the running pass.

    Arithmetic is that of PyTorch's fused attention, scaled by the square root of the head's width; no mask, no bias.

    Args:
        layer (int): Number of the fused layer in network order.
    """

    def __init__(self, layer: int) -> None:
        self.layer = layer

    def __call__(self,
                 attn: nn.Module,
                 hidden_states: Tensor,
                 encoder_hidden_states: Optional[Tensor] = None,
                 attention_mask: Optional[Tensor] = None,
                 temb: Optional[Tensor] = None) -> Tensor:
        query, key, value = (project(hidden_states) for project in (attn.to_q, attn.to_k, attn.to_v))
        kv_pass = _active.get()
        if kv_pass is not None:
            key, value = kv_pass.fuse(self.layer, query, key, value)
        query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value))
        out = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))


class RoutedConv(nn.Conv2d):
    """Input convolution of queries, which leaves the input of a write pass to that pass's own convolution."""

    def forward(self, x: Tensor) -> Tensor:
        kv_pass = _active.get()
        return kv_pass.conv(x) if isinstance(kv_pass, WritePass) else super().forward(x)


def checkpointed(module: Callable, *args: Any) -> Any:
    """Compute a part of a UNet again in the backward pass, in the same mode: the function that diffusers asks for.

    The parts keep their pass, and so the bank, until the backward pass is over.
    """
    kv_pass = _active.get()

    def contexts() -> tuple[Any, Any]:
        return nullcontext(), running(kv_pass.again() if kv_pass else None)

    return checkpoint(module, *args, use_reentrant=False, context_fn=contexts)


def layer_size(latent_size: Sequence[int], num_tokens: int) -> tuple[int, int]:
    """Return the size (h, w) of a layer of that many tokens."""
    stride = isqrt(latent_size[0] * latent_size[1] // num_tokens)
    return latent_size[0] // stride, latent_size[1] // stride
