"""How well a score tells episodes whose query shows the class from those whose query does not."""
from math import nan
from typing import Any, Mapping, Optional, Sequence

import numpy as np
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric

from mmfss.registry import METRICS


@METRICS.register_module()
class PresenceAUC(BaseMetric):
    """Area under the ROC curve of presence scores, on right-class against wrong-class episodes.

    The value is the probability that an episode whose query shows the class has a larger score than one whose query
    does not; ties count one half. Half is chance. Several scores are compared on the same episodes.

    Results: ``{score}``, the AUC in per cent, for each score; ``num_present`` and ``num_absent``.

    Args:
        prefix (str, optional): Defaults to ``'presence'``.
        **kwargs: Arguments of :class:`mmengine.evaluator.BaseMetric`.

    Example:
        >>> from mmfss.evaluation import PresenceAUC
        >>> metric = PresenceAUC()
        >>> scores = {True: dict(area=0.4), False: dict(area=0.1)}
        >>> metric.process(None, [dict(present=present, scores=scores[present]) for present in (True, False)])
        >>> metric.evaluate(2)
        {'presence/area': 100.0, 'presence/num_present': 1, 'presence/num_absent': 1}
    """

    default_prefix = 'presence'

    def __init__(self, prefix: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(prefix=prefix, **kwargs)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Add episodes.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Each with ``present`` (bool), whether the query shows the class, and
                ``scores``, numbers by name.
        """
        self.results.extend(
            dict(present=bool(sample['present']), scores={name: float(x) for name, x in sample['scores'].items()})
            for sample in data_samples)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, Any]:
        """Compute the areas of all episodes.

        Raises:
            ValueError: If there is no episode.
        """
        if not results:
            raise ValueError('PresenceAUC: no episode was scored.')
        present = np.array([result['present'] for result in results])
        areas = {name: 100 * area_under_curve(np.array([result['scores'][name] for result in results]), present)
                 for name in results[0]['scores']}
        return dict(areas, num_present=int(present.sum()), num_absent=int((~present).sum()))

    def evaluate(self, size: int) -> dict[str, Any]:
        """Collect the episodes of all processes, and compute the areas in each.

        Args:
            size (int): Not used.
        """
        gathered = [result for results in all_gather_object(self.results) for result in results]
        self.results.clear()
        return {f'{self.prefix}/{name}': value for name, value in self.compute_metrics(gathered).items()}


def area_under_curve(scores: np.ndarray, present: np.ndarray) -> float:
    """Compute the area under the ROC curve by ranks (Mann and Whitney).

    Args:
        scores (np.ndarray): Shape (M, ).
        present (np.ndarray): Bool, shape (M, ).

    Returns:
        float: In [0, 1]; NaN without a pair of both kinds.
    """
    positive, negative = scores[present], scores[~present]
    if not len(positive) or not len(negative):
        return nan
    order = np.sort(negative)
    below, up_to = (np.searchsorted(order, positive, side=side) for side in ('left', 'right'))
    return float((below + up_to).sum() / (2 * len(positive) * len(negative)))
