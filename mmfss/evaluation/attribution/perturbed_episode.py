"""Predictions of one query from many changed versions of its supports."""
from functools import cached_property
from itertools import islice
from typing import Any, Hashable, Iterable, Iterator, Optional

import torch
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor, FeaturePyramid
from mmfss.models.affinities.affinity import chunks
from mmfss.structures import Episode

Supports = tuple[Tensor, Tensor]
"""Images (N, K, 3, H, W) and masks (N, K, H, W) of one state."""


class PerturbedEpisode:
    """Predict one query from many changed versions of its supports.

    Features of the query and of the unchanged supports are computed once. In each state, only images that differ from
    the original and from the previous state are encoded. Unchanged states cost nothing. States are predicted in
    batches. None of this changes the results beyond rounding (about 1e-6 of the logits).

    Letters: N ways, K shots, T states, supports of (H, W), a query of (h, w) pixels.

    Args:
        model (BaseFewShotSegmentor): A model in eval mode.
        episode (Episode): The unchanged episode.
        batch_size (int): Support images handled at a time, which bounds the memory; a state is never split, so at
            least N * K are. Defaults to 8.

    Attributes:
        memo (dict): Cache of callers for results of this episode.

    Raises:
        ValueError: If the model is in training mode or the batch size is not positive.
    """

    def __init__(self, model: BaseFewShotSegmentor, episode: Episode, batch_size: int = 8) -> None:
        if model.training:
            raise ValueError('The model is in training mode, where predictions are random: call model.eval() first.')
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}.')
        self.model = model
        self.episode = episode
        self.batch_size = batch_size
        self.memo: dict[Hashable, Any] = {}
        self._last: Optional[tuple[Tensor, FeaturePyramid]] = None

    @property
    def states_per_batch(self) -> int:
        """Number of states that are predicted together."""
        return max(1, self.batch_size // self.episode.masks.shape[:2].numel())

    @cached_property
    def original_logits(self) -> Tensor:
        """Raw logits of the unchanged episode, shape (N+1, h, w)."""
        with torch.no_grad():
            return self._predict(self._original_features, self.episode.masks[None])[0]

    def logits(self, support: Tensor, masks: Tensor) -> Tensor:
        """Predict the query from T states of the supports.

        Args:
            support (Tensor): Normalized images, shape (T, N, K, 3, H, W).
            masks (Tensor): Support masks in [0, 1], shape (T, N, K, H, W).

        Returns:
            Tensor: Raw logits, float, shape (T, N+1, h, w).

        Raises:
            ValueError: If the shapes are not those of the episode.
        """
        if support.shape[1:] != self.episode.support.shape or masks.shape[1:] != self.episode.masks.shape or (
                len(support) != len(masks)):
            raise ValueError(f'States of this episode have supports (T, {_dims(self.episode.support)}) and masks '
                             f'(T, {_dims(self.episode.masks)}), got {tuple(support.shape)} and {tuple(masks.shape)}.')
        parts = [self._batch(support[a:b], masks[a:b]) for a, b in chunks(len(support), self.states_per_batch)]
        return torch.cat(parts) if parts else self.original_logits.new_empty((0, *self.original_logits.shape))

    def scan(self, states: Iterable[Supports]) -> Iterator[Tensor]:
        """Predict states of an iterator, a batch at a time.

        Args:
            states (Iterable[tuple[Tensor, Tensor]]): Pairs of images (N, K, 3, H, W) and masks (N, K, H, W).

        Yields:
            Tensor: Raw logits (N+1, h, w) of each state.
        """
        states = iter(states)
        try:
            while batch := list(islice(states, self.states_per_batch)):
                support, masks = (torch.stack(tensors) for tensors in zip(*batch))
                del batch
                yield from self.logits(support, masks)
        finally:
            # Features of the last state are large, and the next call rarely starts with it.
            self._last = None

    @torch.no_grad()
    def _batch(self, support: Tensor, masks: Tensor) -> Tensor:
        changed = (support != self.episode.support).flatten(1).any(1) | (masks != self.episode.masks).flatten(1).any(1)
        out = self.original_logits.expand(len(support), -1, -1, -1)
        if not changed.any():
            return out
        if not changed.all():
            support, masks = support[changed], masks[changed]
        logits = self._predict(self._features(support), masks)
        if changed.all():
            return logits
        out = out.clone()
        out[changed] = logits
        return out

    def _predict(self, supports: FeaturePyramid, masks: Tensor) -> Tensor:
        """Predict from support features in the order of :meth:`BaseFewShotSegmentor.encode_features`."""
        encoding = self.model.encode_features(supports, masks)
        query = self._query_features.expand(len(masks))
        return self.model.match(query, encoding, self.episode.query_size).float()

    @cached_property
    def _query_features(self) -> FeaturePyramid:
        return self.model.extract_feat(self.episode.query[None])

    @cached_property
    def _original_features(self) -> FeaturePyramid:
        return self._encode(self.episode.support.flatten(0, 1))

    def _encode(self, images: Tensor) -> FeaturePyramid:
        return FeaturePyramid.cat([self.model.extract_feat(part) for part in images.split(self.batch_size)])

    def _features(self, support: Tensor) -> FeaturePyramid:
        """Compute features of supports (T, N, K, 3, H, W), ordered by way, then by state, then by shot."""
        num_states, num_ways, num_shots = support.shape[:3]
        images = support.flatten(1, 2)
        sources, fresh = self._sources(images)
        rows = sources.unflatten(1, (num_ways, num_shots)).transpose(0, 1)
        # Gather known features, and encode the rest
        known = [self._original_features]
        if self._last is not None:
            known.append(self._last[1])
        self._last = None
        if fresh:
            state, slot = torch.tensor(fresh, device=images.device).unbind(1)
            known.append(self._encode(images[state, slot]))
        features = _gather(known, rows.flatten().to(images.device))
        # Keep the features of the last state
        if num_states == 1:
            last = features
        else:
            numbers = torch.arange(rows.numel(), device=images.device).view(num_ways, num_states, num_shots)
            last = features.select(numbers[:, -1].flatten())
        self._last = (images[-1], last)
        return features

    def _sources(self, images: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
        """Find the source of the features of each image.

        Args:
            images (Tensor): Shape (T, M, 3, H, W), M supports of a state.

        Returns:
            tuple: For each image its place (T, M) among the M original supports, the M of the last state (if there is
            one) and the images to encode; and of these the states and numbers, sorted like the features of
            :meth:`_features`.
        """
        num_states, num_slots = images.shape[:2]
        original = _equal(images, self.episode.support.flatten(0, 1)[None]).tolist()
        repeated = _equal(images[1:], images[:-1]).tolist()
        repeated.insert(0, [False] * num_slots if self._last is None else _equal(images[0], self._last[0]).tolist())
        before = num_slots if self._last is None else 2 * num_slots
        sources = torch.empty(num_states, num_slots, dtype=torch.long)
        fresh: list[tuple[int, int]] = []
        num_shots = self.episode.num_shots
        # Sort by way, state and shot
        for way in range(self.episode.num_ways):
            for state in range(num_states):
                for slot in range(way * num_shots, (way + 1) * num_shots):
                    if original[state][slot]:
                        sources[state, slot] = slot
                    elif repeated[state][slot]:
                        sources[state, slot] = sources[state - 1, slot] if state else num_slots + slot
                    else:
                        sources[state, slot] = before + len(fresh)
                        fresh.append((state, slot))
        return sources, fresh


def _gather(known: list[FeaturePyramid], rows: Tensor) -> FeaturePyramid:
    """Select images by number from several pyramids; no copy if they are all images of the last one."""
    first = sum(pyramid.batch_size for pyramid in known[:-1])
    whole = torch.arange(first, first + known[-1].batch_size, device=rows.device)
    if torch.equal(rows, whole):
        return known[-1]
    # Map by map: the joined maps of one layer are held at a time.
    return FeaturePyramid(tuple(tuple(torch.cat(maps)[rows] for maps in zip(*levels)) for levels in zip(*known)))


def _equal(a: Tensor, b: Tensor) -> Tensor:
    """Compare images (..., 3, H, W) for equality."""
    return (a == b).flatten(-3).all(-1)


def _dims(tensor: Tensor) -> str:
    return ', '.join(map(str, tensor.shape))
