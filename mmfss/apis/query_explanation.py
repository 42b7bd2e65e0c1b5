"""Explanation of the predictions of single queries."""
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.explainers import Explainer
from mmfss.explainers.building import build_explainers, explainer_configs
from mmfss.models import BaseFewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from mmfss.utils.device import device_of
from mmfss.visualization import draw_attributions
from .support_set import EncodedSupport

Explain = Union[str, Mapping[str, Any], Explainer]


def build_explainer(explain: Explain) -> tuple[str, Explainer]:
    """Build an explainer.

    Args:
        explain (str | dict | Explainer): A name, e.g. ``'signed_affex'``; a config, e.g. ``dict(type='lime',
            n_samples=50)``; or an explainer.

    Returns:
        tuple[str, Explainer]: What to call it, and the explainer.

    Raises:
        ConfigError: If there is no explainer of that name, it has no such option, or a package is missing.
    """
    if isinstance(explain, Explainer):
        registered = (name for name, kind in EXPLAINERS.module_dict.items() if kind is type(explain))
        return next(registered, type(explain).__name__), explain
    if not isinstance(explain, (str, Mapping)):
        raise ValueError(f'`explain` must be the name of an explainer, a config or an explainer, got {explain!r}.')
    config = dict(type=explain) if isinstance(explain, str) else dict(explain)
    if 'type' not in config:
        raise ValueError(f'The config of an explainer needs a "type", got {config}.')
    (name, explainer), = build_explainers(explainer_configs({config['type']: config})).items()
    return name, explainer


@dataclass(frozen=True)
class WayExplanation:
    """Hold the explanation of one class of a prediction, at network size.

    Attributes:
        attribution (Tensor): Of its K supports, (K, H, W).
        neutral (float, optional): The value that means no contribution, if the explainer has one.
        contributions (dict, optional): Shares of layers and supports, see :meth:`Contributions.summary`; of explainers
            that follow affinities.
    """
    attribution: Tensor
    neutral: Optional[float] = None
    contributions: Optional[dict[str, Any]] = None


class QueryExplainer:
    """Explain predictions by one support set, whose classes may differ in their number of shots.

    Args:
        model (BaseFewShotSegmentor): The model.
        name (str): What to call the explainer.
        explainer (Explainer, optional): The explainer; None if only episodes are asked for.
        support (EncodedSupport): The support set.
    """

    def __init__(self, model: BaseFewShotSegmentor, name: str, explainer: Optional[Explainer],
                 support: EncodedSupport) -> None:
        self.model = model
        self.name = name
        self.explainer = explainer
        self.support = support
        device = device_of(model)
        self.images = [model.data_preprocessor.normalize(torch.stack([shot.network_image for shot in shots]).to(device))
                       for shots in support.shots]
        self.masks = [torch.stack([shot.network_mask for shot in shots]).to(device).float() for shots in support.shots]

    def __call__(self, query: Tensor, regions: Tensor) -> dict[str, Any]:
        """Explain the prediction of one query.

        Args:
            query (Tensor): Normalized image, (3, h, w).
            regions (Tensor): The pixels that are explained of each class, boolean, (N, h, w).

        Returns:
            dict: ``explainer``, its name; ``attributions``: per class, of each of its K_n supports, a float32 array of
            the support's original size, None for a class whose region is empty; ``neutral``: per class the value that
            means no contribution, None if the explainer does not say; ``support_shares``: per class the share of
            each of its supports in what speaks for the class, summing to 1, None as above; and ``contributions``: per
            class the shares of layers and supports, None for explainers that do not follow affinities.

        Raises:
            ValueError: If a support mask is empty at network size, or the model cannot be explained so.
        """
        return self.to_result(self.explain(query, regions))

    def to_result(self, ways: Sequence[Optional[WayExplanation]]) -> dict[str, Any]:
        """Put what :meth:`explain` returned into the form of :meth:`__call__`."""
        return dict(
            explainer=self.name,
            attributions=[
                None if way is None else [_to_size(one, shot.mask.shape) for one, shot in zip(way.attribution, shots)]
                for way, shots in zip(ways, self.support.shots)
            ],
            neutral=[None if way is None else way.neutral for way in ways],
            support_shares=[None if way is None else _shares(way.attribution, way.neutral) for way in ways],
            contributions=[None if way is None else way.contributions for way in ways])

    def explain(self, query: Tensor, regions: Tensor) -> list[Optional[WayExplanation]]:
        """Explain given regions (N, h, w), at network size.

        Classes that all have a region, and as many shots, are explained together, as one episode; else each is
        explained as an episode of its own.

        Returns:
            list[WayExplanation | None]: Per class its explanation, None for a class without region.
        """
        found = regions.flatten(1).any(1).tolist()
        same = len({images.shape for images in self.images}) == 1
        groups = [list(range(len(found)))] if same and all(found) else [[way] for way, any_ in enumerate(found) if any_]
        ways: list[Optional[WayExplanation]] = [None] * len(found)
        for group in groups:
            for way, explanation in zip(group, self._explain(self.episode(query, group), regions[group])):
                ways[way] = explanation
        return ways

    def _explain(self, episode: Episode, regions: Tensor) -> list[WayExplanation]:
        explanation = self.explainer.explain(self.model, episode, regions)
        count = len(regions)
        neutral = [None] * count if explanation.neutral is None else explanation.neutral.tolist()
        contributions: list[Optional[dict[str, Any]]] = [None] * count
        if explanation.contributions is not None:
            summary = explanation.contributions.summary()
            sizes = summary.pop('layer_sizes')
            contributions = [dict({key: of_ways[way] for key, of_ways in summary.items()}, layer_sizes=sizes)
                             for way in range(count)]
        return [WayExplanation(*way) for way in zip(explanation.attribution, neutral, contributions)]

    def draw(self, image: np.ndarray, result: Mapping[str, Any], regions: Tensor) -> np.ndarray:
        """Draw an explained prediction.

        Args:
            image (np.ndarray): The query, (H, W, 3) uint8 BGR.
            result (dict): ``mask`` (H, W), what :meth:`__call__` returned, and perhaps ``class_names`` and ``advice``.
            regions (Tensor): As there.

        Returns:
            np.ndarray: The panel, uint8 RGB.
        """
        pictures = [[shot.image[..., ::-1] for shot in shots] for shots in self.support.shots]
        masks = [[shot.mask for shot in shots] for shots in self.support.shots]
        return draw_attributions(
            image[..., ::-1], result['mask'], regions.cpu().numpy(), pictures, masks,
            {result['explainer']: result['attributions']}, self.support.class_names,
            neutral={result['explainer']: result['neutral']} if any(x is not None for x in result['neutral']) else None,
            notes=[*describe_shares(result), *(advice['text'] for advice in result.get('advice', ()))])

    def episode(self, query: Tensor, ways: Sequence[int]) -> Episode:
        """Return a query (3, h, w) and the supports of some classes, of equal number, as an episode."""
        info = dict(class_names=[self.support.class_names[way] for way in ways],
                    support_names=[[shot.name for shot in self.support.shots[way]] for way in ways])
        images, masks = (torch.stack([part[way] for way in ways]) for part in (self.images, self.masks))
        return Episode(query, images, masks, info=info)


def describe_shares(result: Mapping[str, Any]) -> list[str]:
    """Name the support that decided most about each explained class of several supports, e.g. ``62 % from support 3``.

    Args:
        result (Mapping): ``class_names``, and ``support_shares`` of an explained prediction.

    Returns:
        list[str]: A phrase per class; with the class in front if there are several.

    Example:
        >>> describe_shares(dict(class_names=['cat'], support_shares=[[0.1, 0.28, 0.62]]))
        ['62 % from support 3']
    """
    phrases = []
    for name, shares in zip(result.get('class_names', ()), result.get('support_shares', ())):
        if shares is not None and len(shares) > 1:
            number = max(range(len(shares)), key=shares.__getitem__)
            text = f'{100 * shares[number]:.0f} % from support {number + 1}'
            phrases.append(text if len(result['class_names']) == 1 else f'{name}: {text}')
    return phrases


def predicted_regions(logits: Tensor) -> Tensor:
    """Select the pixels (N, h, w), boolean, that logits (N+1, h, w) assign to each class."""
    classes = torch.arange(1, len(logits), device=logits.device)
    return logits.argmax(0) == classes[:, None, None]


def _shares(attribution: Tensor, neutral: Optional[float]) -> Optional[list[float]]:
    """Compute the share of each support (K, H, W) in all that lies above the neutral value; None if nothing does."""
    positive = (attribution.double() - (neutral or 0)).clamp(min=0).flatten(1).sum(1)
    total = positive.sum()
    return (positive / total).tolist() if total > 0 else None


def _to_size(attribution: Tensor, size: Sequence[int]) -> np.ndarray:
    """Resize a map (H, W), bilinear, as float32."""
    resized = F.interpolate(attribution[None, None].float(), tuple(size), mode='bilinear', align_corners=False)
    return resized[0, 0].cpu().numpy()
