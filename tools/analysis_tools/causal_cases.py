"""Causal attribution metrics for ``benchmark.py``: a whole prediction for every state, or what states share kept."""
from typing import Callable

import torch
import torch.nn.functional as F
from benchmark_cases import Computation, Setting, WholeModel
from explicit_dcama import ExplicitDCAMA
from torch import Tensor

from mmfss.evaluation import InsertionDeletion, PerturbedEpisode
from mmfss.evaluation.attribution.functional import area_under_curve, region_confidence
from mmfss.evaluation.attribution.perturbation_path import PerturbationPath
from mmfss.structures import Episode

NUM_STEPS = 3
"""Steps of the curve; the time per state does not depend on it."""

Forward = Callable[[Tensor, Tensor, Tensor], Tensor]


def causal(setting: Setting) -> dict[str, Computation]:
    """One insertion curve by confidence, of a random attribution.

    Returns:
        dict: ``explicit``, query and supports through the backbone and the plain head for every state; ``whole``, the
        same with this package's head; ``shared``, this package's metric; ``pair``, the same and the curve by mIoU. Each
        returns the area under the curve by confidence.
    """
    case = WholeModel(setting)
    model = case.model
    plain = ExplicitDCAMA(model.head).to(setting.device).eval()
    episode = Episode(case.query[0], case.support[0], case.masks[0], case.target[0])
    attribution = torch.rand(episode.masks.shape, device=setting.device)
    region = torch.ones(1, *episode.query_size, dtype=torch.bool, device=setting.device)
    metric = InsertionDeletion('ins', 'confidence', num_steps=NUM_STEPS)

    def explicit_logits(query: Tensor, support: Tensor, masks: Tensor) -> Tensor:
        images = torch.cat((query, support.flatten(0, 2)))
        query_pyramid, supports = model.extract_feat(images).split((1, len(images) - 1))
        logits = plain(query_pyramid, supports, masks[:, 0])
        return F.interpolate(logits, query.shape[-2:], mode='bilinear', align_corners=True)

    @torch.no_grad()
    def one_by_one(forward: Forward) -> float:
        path = PerturbationPath(episode, attribution, metric.mode, metric.substrate)
        scores = []
        for stop in metric.boundaries(attribution):
            support, masks = path.state((0, stop))
            logits = forward(episode.query[None], support[None], masks[None])[0]
            scores.append(float(region_confidence(logits, region)[0, 1]))
        return area_under_curve(scores)

    def measured(*metrics: InsertionDeletion) -> float:
        subject = PerturbedEpisode(model, episode)
        return [metric.measure(subject, attribution, region).value for metric in metrics][-1]

    return dict(
        explicit=lambda: one_by_one(explicit_logits),
        whole=lambda: one_by_one(model.logits),
        shared=lambda: measured(metric),
        pair=lambda: measured(InsertionDeletion('ins', 'miou', num_steps=NUM_STEPS), metric))
