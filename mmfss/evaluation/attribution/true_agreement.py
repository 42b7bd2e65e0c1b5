"""Agreement of attributions with the exact ones, on heads that know them."""
from math import ceil, nan
from typing import Any, Literal, Optional

import torch
from torch import Tensor

from mmfss.explainers.true_attribution import true_cell_attribution
from mmfss.models.layers.resizing import pool_to_size
from mmfss.registry import METRICS
from .attribution_metric import AttributionMetric, Measurement, check_arguments
from .perturbation_path import digest
from .perturbed_episode import PerturbedEpisode


@METRICS.register_module()
class TrueAgreement(AttributionMetric):
    """Compare an attribution with the exact contributions of support cells, on a head whose maps are sums over them.

    The attribution is averaged over the pixels of each support cell. Only cells with a reference other than 0 count,
    those under the mask: elsewhere nothing contributes, and a map that merely shows the mask would seem to agree. An
    explainer should be compared with what it estimates: read-outs of affinities or features with ``'readout'``,
    perturbations (occlusion, ablation, LIME, SHAP, integrated gradients) with ``'removal'``. The model needs an
    :class:`~mmfss.models.AdditiveHead`, e.g. a :class:`~mmfss.models.PrototypeMatchingHead`.

    Args:
        kind (str): Reference: ``'readout'``, what each cell adds to the region's mean map; ``'removal'``, how this
            changes when the cell is removed. Defaults to ``'readout'``.
        top (float, optional): Share of all support cells, in (0, 1]; the value is the part of the reference's best
            cells, at least one, that are among the attribution's best. None: the value is Pearson's correlation, -1 to
            1, and none where all cells of either are equal. Defaults to None.
        name (str, optional): Defaults to one made of the arguments, e.g. ``'Readout-correlation'``.
        **kwargs: Arguments of :class:`AttributionMetric`.

    Raises:
        ValueError: If an argument is out of its range; in :meth:`measure` if the head has no exact attributions.
    """

    higher_is_better = True

    def __init__(self,
                 kind: Literal['readout', 'removal'] = 'readout',
                 top: Optional[float] = None,
                 name: Optional[str] = None,
                 **kwargs: Any) -> None:
        if kind not in ('readout', 'removal'):
            raise ValueError(f"kind must be 'readout' or 'removal', got {kind!r}.")
        if top is not None and not 0 < top <= 1:
            raise ValueError(f'top must be a share above 0 and at most 1, got {top}.')
        what = 'correlation' if top is None else f'top-{100 * top:g}%'
        super().__init__(name=name or f'{kind.capitalize()}-{what}', **kwargs)
        self.kind = kind
        self.top = top

    def measure(self, subject: PerturbedEpisode, attribution: Tensor, region: Tensor) -> Measurement:
        attribution, region = check_arguments(subject, attribution, region)
        if not attribution.isfinite().all() or not region.flatten(1).any(1).all():
            return Measurement(nan)
        key = ('true attribution', self.kind, digest(region))
        if key not in subject.memo:
            subject.memo[key] = true_cell_attribution(subject.model, subject.episode, region, self.kind)
        reference = subject.memo[key]
        cells = pool_to_size(attribution.double(), reference.shape[-2:])
        values = [self._agreement(*pair) for pair in zip(cells, reference.double())]
        return Measurement(sum(values) / len(values))

    def _agreement(self, found: Tensor, reference: Tensor) -> float:
        """Compare two maps (K, h, w) of one class."""
        contributes = reference != 0
        inside = found[contributes], reference[contributes]
        if self.top is None:
            return correlation(*inside)
        number = min(ceil(self.top * reference.numel()), len(inside[0]))
        if number == 0:
            return nan
        best = [set(x.argsort(descending=True, stable=True)[:number].tolist()) for x in inside]
        return len(best[0] & best[1]) / number


def correlation(first: Tensor, second: Tensor) -> float:
    """Compute Pearson's correlation of two vectors; NaN where either is constant."""
    first, second = (x - x.mean() for x in (first, second))
    lengths = first.norm() * second.norm()
    return float(first @ second / lengths) if len(first) > 1 and torch.all(lengths > 0) else nan
