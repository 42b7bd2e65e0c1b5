"""What AffEx reads of DiffewS: the attention of one class's query pass."""
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..affinities import FusedAttentionAffinity
from ..backbones.diffusion import fused_attentions
from ..backbones.kv_fusion import KVBank, LayerRecord, layer_size
from ..heads.matching_head import foreground_mean


class DiffewsWay:
    """Hold the attention of B queries to their supports of one class; the counterpart of :class:`MatchedWay`.

    Every KV-fusion layer is a :class:`FusedAttentionAffinity`. It holds projected queries and keys, not the attention:
    as much memory as half of a :class:`KVBank` for each query.

    Args:
        model (DiffewsSegmentor): The model.
        latents (Tensor): Of B queries, (B, C, h, w).
        bank (KVBank): Of B support sets, or of one that serves all queries.
    """

    def __init__(self, model: Any, latents: Tensor, bank: KVBank) -> None:
        self.model, self.latents, self.bank = model, latents, bank
        records: list[LayerRecord] = []
        self.mask_latents = model.read(latents, bank, records=records)
        self.affinities = [self._affinity(layer, *pair) for layer, pair in enumerate(
            zip(records, fused_attentions(model.unet).values()))]

    def _affinity(self, layer: int, record: LayerRecord, attention: Any) -> FusedAttentionAffinity:
        size = self.bank.sizes[layer]
        affinity = FusedAttentionAffinity(
            record.query, record.key, self.bank.keys[layer], attention.heads,
            layer_size(self.latents.shape[-2:], record.key.shape[1]),
            (self.bank.num_shots, *size), self.bank.drawn[layer] if self.bank.drawn else None)
        affinity.layer = layer
        return affinity

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the latents."""
        return self.latents.dtype

    @cached_property
    def evidence(self) -> list[Tensor]:
        """Per layer the attention that goes to foreground of the supports, in [0, 1], (B, 1, h_l, w_l)."""
        masks = [self.bank.mask_values(affinity.layer).to(self.dtype) for affinity in self.affinities]
        return [affinity.attend(values.expand(len(self.latents), -1, -1)).transpose(1, 2).unflatten(
            2, affinity.query_size) for affinity, values in zip(self.affinities, masks)]

    def logits(self) -> Tensor:
        """Compute the logits (B, 2, H, W)."""
        return self.model.mask_logits(self.mask_latents)

    def layer_effects(self, region: Tensor) -> Tensor:
        """Measure how much each layer's attention to the supports contributes to the prediction inside a region.

        The effect of a layer is the absolute change of the mean foreground logit of the region when the layer does not
        read the supports: its softmax then runs over the query's own keys. Cost: a query pass for each layer.

        Args:
            region (Tensor): Boolean, shape (B, H, W), no episode's empty.

        Returns:
            Tensor: Not negative, shape (B, L).
        """
        whole = foreground_mean(self.logits(), region)
        effects = []
        for affinity in self.affinities:
            mask_latents = self.model.read(self.latents, self.bank, without=affinity.layer)
            effects.append(whole - foreground_mean(self.model.mask_logits(mask_latents), region))
        return torch.stack(effects, dim=1).abs()

