"""Explanation of the predictions of single queries."""
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


class QueryExplainer:
    """Explain predictions by one support set, whose classes may differ in their number of shots.

    Args:
        model (BaseFewShotSegmentor): The model.
        name (str): What to call the explainer.
        explainer (Explainer): The explainer.
        support (EncodedSupport): The support set.
    """

    def __init__(self, model: BaseFewShotSegmentor, name: str, explainer: Explainer, support: EncodedSupport) -> None:
        self.model = model
        self.name = name
        self.explainer = explainer
        self.support = support
        device = device_of(model)
        self.images = [model.data_preprocessor.normalize(torch.stack([shot.network_image for shot in shots]).to(device))
                       for shots in support.shots]
        self.masks = [torch.stack([shot.network_mask for shot in shots]).to(device).float() for shots in support.shots]

    def __call__(self, query: Tensor, logits: Tensor) -> dict[str, Any]:
        """Explain the prediction of one query.

        Args:
            query (Tensor): Normalized image, (3, h, w).
            logits (Tensor): What the model predicts of it, (N+1, h, w); the region of class n is where it wins.

        Returns:
            dict: ``explainer``, its name; ``attributions``: per class, of each of its K_n supports, a float32 array of
            the support's original size, None for a class that wins nowhere; ``neutral``: per class the value that
            means no contribution, None if the explainer does not say; and ``support_shares``: per class the share of
            each of its supports in what speaks for the class, summing to 1, None as above.

        Raises:
            ValueError: If a support mask is empty at network size, or the model cannot be explained so.
        """
        maps, neutral = self.attribute(query, predicted_regions(logits))
        attributions = [
            None if way is None else [_to_size(one, shot.mask.shape) for one, shot in zip(way, shots)]
            for way, shots in zip(maps, self.support.shots)
        ]
        shares = [None if way is None else _shares(way, level) for way, level in zip(maps, neutral)]
        return dict(explainer=self.name, attributions=attributions, neutral=neutral, support_shares=shares)

    def attribute(self, query: Tensor, region: Tensor) -> tuple[list[Optional[Tensor]], list[Optional[float]]]:
        """Explain given regions (N, h, w), at network size.

        Classes that all have a region, and as many shots, are explained together, as one episode; else each is
        explained as an episode of its own.

        Returns:
            tuple[list, list]: Per class its attribution (K_n, H, W), None for a class without region; and the value
            that means no contribution, None where it is not known.
        """
        found = region.flatten(1).any(1).tolist()
        same = len({images.shape for images in self.images}) == 1
        groups = [list(range(len(found)))] if same and all(found) else [[way] for way, any_ in enumerate(found) if any_]
        maps: list[Optional[Tensor]] = [None] * len(found)
        levels: list[Optional[float]] = [None] * len(found)
        for group in groups:
            attribution, neutral = self._explain(self._episode(query, group), region[group])
            for way, one, level in zip(group, attribution, neutral):
                maps[way], levels[way] = one, level
        return maps, levels

    def _explain(self, episode: Episode, region: Tensor) -> tuple[Tensor, Sequence[Optional[float]]]:
        """Compute the attribution (N, K, H, W) and the N values that mean no contribution."""
        explanation = self.explainer.explain(self.model, episode, region)
        neutral = explanation.neutral
        return explanation.attribution, [None] * len(region) if neutral is None else neutral.tolist()

    def draw(self, image: np.ndarray, result: Mapping[str, Any], logits: Tensor) -> np.ndarray:
        """Draw an explained prediction.

        Args:
            image (np.ndarray): The query, (H, W, 3) uint8 BGR.
            result (dict): ``mask`` (H, W), and what :meth:`__call__` returned.
            logits (Tensor): As there.

        Returns:
            np.ndarray: The panel, uint8 RGB.
        """
        pictures = [[shot.image[..., ::-1] for shot in shots] for shots in self.support.shots]
        masks = [[shot.mask for shot in shots] for shots in self.support.shots]
        return draw_attributions(
            image[..., ::-1], result['mask'], predicted_regions(logits).cpu().numpy(), pictures, masks,
            {result['explainer']: result['attributions']}, self.support.class_names,
            neutral={result['explainer']: result['neutral']} if any(x is not None for x in result['neutral']) else None)

    def _episode(self, query: Tensor, ways: Sequence[int]) -> Episode:
        info = dict(class_names=[self.support.class_names[way] for way in ways],
                    support_names=[[shot.name for shot in self.support.shots[way]] for way in ways])
        images, masks = (torch.stack([part[way] for way in ways]) for part in (self.images, self.masks))
        return Episode(query, images, masks, info=info)


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
