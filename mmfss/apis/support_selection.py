"""Selection of supports: which of many annotated candidates serve the queries of a class best."""
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
import torch
from torch import Tensor

from mmfss.datasets import EpisodicDataset
from mmfss.evaluation.functional import episode_counts
from mmfss.explainers import EmptyRegionError, Explainer
from mmfss.models import BaseFewShotSegmentor
from mmfss.models.features import FeaturePyramid
from mmfss.structures import Episode
from mmfss.utils.device import device_of


@dataclass(frozen=True)
class AnnotatedImages:
    """Hold n annotated images of one class.

    Attributes:
        names (list[str]): Their names.
        images (Tensor): Normalized, shape (n, 3, H, W).
        labels (Tensor): 1 the class, 0 elsewhere, 255 ignored, int64, shape (n, H, W).
    """
    names: list[str]
    images: Tensor
    labels: Tensor

    @classmethod
    def load(cls, dataset: EpisodicDataset, names: Sequence[str], class_id: int,
             model: BaseFewShotSegmentor) -> 'AnnotatedImages':
        """Load images as a dataset's pipeline prepares supports.

        Args:
            dataset (EpisodicDataset): The dataset.
            names (Sequence[str]): Images of its index that show the class.
            class_id (int): The class.
            model (BaseFewShotSegmentor): Its preprocessor normalizes the images; they go to its device.
        """
        supports = [dataset.image_info(name, (class_id, ), 'support') for name in names]
        packed = dataset.pipeline(dict(
            episode_index=0, class_ids=[class_id], class_names=[dataset.index.classes[class_id]],
            query=dataset.image_info(names[0], (class_id, ), 'query'), support=[supports]))
        device = device_of(model)
        labels = packed['data_samples'].support_sem_seg[0].to(device).long()
        # In parts: normalized images take four times the memory of bytes.
        images = packed['inputs']['support'][0]
        images = torch.cat([model.data_preprocessor.normalize(part.to(device)) for part in images.split(8)])
        return cls(list(names), images, labels)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def masks(self) -> Tensor:
        """Return the masks in {0, 1}, float, shape (n, H, W); ignored pixels are background."""
        return (self.labels == 1).to(self.images.dtype)


class SupportSelector:
    """Score the candidates of a pool, and measure any choice of them.

    Features of candidates and queries are computed once.

    Args:
        model (BaseFewShotSegmentor): The model, in eval mode.
        pool (AnnotatedImages): P candidates.
        batch_size (int): Images that go through the model together.

    Raises:
        ValueError: If there are fewer than two candidates, or a candidate's mask is empty at network size.
    """

    def __init__(self, model: BaseFewShotSegmentor, pool: AnnotatedImages, batch_size: int = 8) -> None:
        if len(pool) < 2:
            raise ValueError(f'A pool needs two candidates or more, got {len(pool)}.')
        empty = [name for name, mask in zip(pool.names, pool.masks) if not mask.any()]
        if empty:
            raise ValueError(f'The mask of the candidate "{empty[0]}" is empty at network size.')
        self.model, self.pool, self.batch_size = model, pool, batch_size
        self.features = self._features(pool.images)

    @torch.no_grad()
    def measure(self, choices: Sequence[Sequence[int]], queries: AnnotatedImages) -> list[float]:
        """Compute the IoU of the class over some queries, with some of the candidates as supports.

        Args:
            choices (Sequence[Sequence[int]]): Choices, each of K numbers of candidates.
            queries (AnnotatedImages): The queries.

        Returns:
            list[float]: For each choice, the sum of intersections over the sum of unions, 0 to 1 (the accumulation of
            the benchmarks).
        """
        features = self._features(queries.images)
        return [self._iou(choice, queries, features) for choice in choices]

    def _iou(self, choice: Sequence[int], queries: AnnotatedImages, features: FeaturePyramid) -> float:
        index = torch.as_tensor(choice, device=queries.images.device)
        encoding = self.model.encode_features(self.features.select(index), self.pool.masks[index][None, None])
        total = np.zeros(2)
        for rows in torch.arange(len(queries), device=index.device).split(self.batch_size):
            logits = self.model.match(features.select(rows), encoding, queries.labels.shape[-2:])
            for labels, target in zip(logits.argmax(1), queries.labels[rows]):
                total += episode_counts(labels, target, 1)['foreground']
        return float(total[0] / max(total[1], 1))

    def leave_one_out_scores(self, queries: AnnotatedImages) -> list[float]:
        """Score what each candidate adds to all others: IoU of the whole pool minus IoU without the candidate.

        Args:
            queries (AnnotatedImages): Queries whose labels are known.

        Returns:
            list[float]: One score per candidate; above 0 it helps.
        """
        everyone = range(len(self.pool))
        whole, *without = self.measure(
            [list(everyone), *([other for other in everyone if other != one] for one in everyone)], queries)
        return [whole - iou for iou in without]

    def attribution_scores(self, explainer: Explainer, queries: AnnotatedImages) -> list[float]:
        """Score each candidate by its share in an explanation of the predictions; needs no query labels.

        All candidates are the shots of one episode per query. A candidate's credit is the mean of its map, by which the
        AffEx paper ranks supports, relative to the mean of all candidates.

        Args:
            explainer (Explainer): The explainer; its maps are not negative.
            queries (AnnotatedImages): The queries; where the model predicts nothing a query does not count.

        Returns:
            list[float]: One score per candidate, the mean over queries; 1 is an average candidate.

        Raises:
            EmptyRegionError: If the model predicts nothing in any query.
        """
        credits = []
        for query in queries.images:
            episode = Episode(query, self.pool.images[None], self.pool.masks[None])
            try:
                means = explainer.attribute(self.model, episode, 'prediction')[0].mean((1, 2))
            except EmptyRegionError:
                continue
            credits.append(means / means.mean())
        if not credits:
            raise EmptyRegionError('With the whole pool as supports, the model predicts nothing in any query.')
        return torch.stack(credits).mean(0).tolist()

    @torch.no_grad()
    def _features(self, images: Tensor) -> FeaturePyramid:
        return FeaturePyramid.cat([self.model.extract_feat(part) for part in images.split(self.batch_size)])


def select(scores: Sequence[float], count: int) -> list[int]:
    """Return the indices of the ``count`` highest scores, the highest first; equal scores in order."""
    return sorted(range(len(scores)), key=lambda number: -scores[number])[:count]


def random_choices(size: int, count: int, draws: int, seed: int) -> list[list[int]]:
    """Draw ``draws`` choices of ``count`` out of ``size``, each without repetition."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(size)[:count].tolist() for _ in range(draws)]


def compare_with_random(chosen: float, drawn: Sequence[float]) -> dict[str, Any]:
    """Compare a figure with the figures of random choices.

    Args:
        chosen (float): The figure of the choice.
        drawn (Sequence[float]): Figures of random choices.

    Returns:
        dict: ``mean`` of the random choices, the ``interval`` that holds 95 % of them, and the share that the choice
        ``beats`` (ties count half).
    """
    drawn = np.asarray(drawn)
    return dict(
        mean=float(drawn.mean()),
        interval=[float(end) for end in np.percentile(drawn, [2.5, 97.5])],
        beats=float((drawn < chosen).mean() + (drawn == chosen).mean() / 2))
