"""The score of one class as a function of its supports, explained by gradients and perturbations."""
from copy import copy
from functools import cached_property
from typing import Any, Optional

import torch
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor, FeaturePyramid, SupportEncoding
from mmfss.structures import Episode


class EncodedEpisode:
    """Compute the features and encodings of an episode once, on first use.

    Args:
        model (BaseFewShotSegmentor): The model.
        episode (Episode): The episode.
    """

    def __init__(self, model: BaseFewShotSegmentor, episode: Episode) -> None:
        self.model = model
        self.episode = episode

    @cached_property
    @torch.no_grad()
    def query(self) -> FeaturePyramid:
        """Features of the query."""
        return self.model.extract_feat(self.episode.query[None])

    @cached_property
    @torch.no_grad()
    def supports(self) -> tuple[FeaturePyramid, ...]:
        """Features of the K supports of each way."""
        ways, shots = self.episode.masks.shape[:2]
        return self.model.extract_feat(self.episode.support.flatten(0, 1)).split([shots] * ways)

    @cached_property
    @torch.no_grad()
    def encodings(self) -> list[Any]:
        """The head's encoding of each way."""
        masks = self.episode.masks
        return [self.model.encode_features(f, m[None, None]).ways[0] for f, m in zip(self.supports, masks)]


class ClassScore:
    """Score how strongly the model predicts one class inside a query region, for each version of the supports.

    The number is the mean over the region of the class's raw logit, or of its softmax probability. A logit depends on
    the class's own supports alone (see :func:`~mmfss.models.layers.compose_ways`); for a probability the other classes'
    supports stay as they are.

    The query is encoded once unless a changed query is given; without gradients, only supports that differ from the
    original are encoded.

    Letters: B versions, K shots of the class, supports of (H, W), a query of (h, w) pixels.

    Args:
        encoded (EncodedEpisode): Model and episode; share it between the classes of an episode.
        way (int): Number of the class, 0 the first.
        region (Tensor): Boolean, shape (h, w), not empty.
        probability (bool): Probability instead of logit. Defaults to False.
    """

    def __init__(self, encoded: EncodedEpisode, way: int, region: Tensor, probability: bool = False) -> None:
        self.encoded = encoded
        self.way = way
        self.region = region
        self.probability = probability
        episode = encoded.episode
        self.episode = episode
        self.query = episode.query[None]
        self.support = episode.support[way][None]
        self.masks = episode.masks[way][None]
        self.shots: Optional[Tensor] = None

    @property
    def model(self) -> BaseFewShotSegmentor:
        """The model."""
        return self.encoded.model

    @property
    def features(self) -> FeaturePyramid:
        """Features of the K original supports."""
        features = self.encoded.supports[self.way]
        return features if self.shots is None else features.select(self.shots)

    def select(self, shots: Tensor) -> 'ClassScore':
        """Return the score of a subset of the shots.

        Args:
            shots (Tensor): Boolean, shape (K, ), at least one true.
        """
        part = copy(self)
        part.shots = shots.nonzero()[:, 0] if self.shots is None else self.shots[shots]
        part.support, part.masks = self.support[:, shots], self.masks[:, shots]
        return part

    def __call__(self, support: Tensor, masks: Optional[Tensor] = None, query: Optional[Tensor] = None) -> Tensor:
        """Compute the scores of B versions.

        Args:
            support (Tensor): Images, shape (B, K, 3, H, W).
            masks (Tensor, optional): Shape (B, K, H, W). Defaults to the original masks.
            query (Tensor, optional): Images, shape (B, 3, h, w). Defaults to the original query.

        Returns:
            Tensor: Shape (B, ).
        """
        query_features = None if query is None else self.model.extract_feat(query)
        masks = self.masks.expand(len(support), -1, -1, -1) if masks is None else masks
        return self.of_features(self._encode(support), masks, query_features)

    def of_features(self, support: FeaturePyramid, masks: Tensor, query: Optional[FeaturePyramid] = None) -> Tensor:
        """Compute the scores (B, ) from features of B * K supports, masks (B, K, H, W) and features of B queries."""
        batch = len(masks)
        query = self.encoded.query.expand(batch) if query is None else query
        ways = self.model.encode_features(support, masks[:, None]).ways
        if self.probability:
            ways = (*self.encoded.encodings[:self.way], *ways, *self.encoded.encodings[self.way + 1:])
        logits = self.model.match(query, SupportEncoding(tuple(ways), batch), self.region.shape)
        values = logits.softmax(1)[:, self.way + 1] if self.probability else logits[:, 1]
        return values[:, self.region].mean(1)

    def _encode(self, support: Tensor) -> FeaturePyramid:
        changed = (support != self.support).flatten(2).any(-1)
        if changed.all() or (support.requires_grad and torch.is_grad_enabled()):
            return self.model.extract_feat(support.flatten(0, 1))
        batch, shots = changed.shape
        index = torch.arange(shots, device=support.device).repeat(batch)
        if not changed.any():
            return self.features.select(index)
        index[changed.flatten()] = shots + torch.arange(int(changed.sum()), device=support.device)
        return FeaturePyramid.cat([self.features, self.model.extract_feat(support[changed])]).select(index)


def input_gradient(score: ClassScore, support: Tensor, query: Optional[Tensor] = None) -> tuple[Tensor, Tensor]:
    """Compute the gradients of each version's score with respect to its images.

    Args:
        score (ClassScore): The score.
        support (Tensor): Shape (B, K, 3, H, W).
        query (Tensor, optional): Shape (B, 3, h, w); None: the original query, whose gradient is zero.

    Returns:
        tuple[Tensor, Tensor]: Gradients of ``support``, and of ``query`` (shape (B, 3, h, w)).
    """
    images = [x.detach().clone().requires_grad_() for x in (support, query) if x is not None]
    with torch.enable_grad():
        gradients = torch.autograd.grad(score(images[0], query=images[1] if len(images) > 1 else None).sum(), images)
    if query is None:
        return gradients[0], torch.zeros_like(score.query).expand(len(support), -1, -1, -1)
    return gradients
