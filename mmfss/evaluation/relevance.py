"""Is a classifier right for the right reason? Relevance beside the masks of the classes."""
from typing import Any, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmfss.registry import METRICS


def relevance_mass(relevance: Tensor, mask: Tensor) -> float:
    """Compute the share of the positive relevance that lies inside a mask (Arras et al., Information Fusion 2022).

    Args:
        relevance (Tensor): Shape (H, W).
        mask (Tensor): Bool, shape (H, W).

    Returns:
        float: 0 to 1; 0 without any positive relevance.

    Example:
        >>> import torch
        >>> from mmfss.evaluation import relevance_mass
        >>> relevance_mass(torch.tensor([[3., 1.], [-5., 0.]]), torch.tensor([[True, False], [True, False]]))
        0.75
    """
    positive = relevance.double().clamp(min=0)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total > 0 else 0.


def relevance_rank_accuracy(relevance: Tensor, mask: Tensor) -> float:
    """Compute the share of the ``|mask|`` pixels of highest relevance that lie in the mask (Arras et al., 2022).

    Of pixels with the same relevance at the limit, each counts by the share of them that is taken.

    Args:
        relevance (Tensor): Shape (H, W).
        mask (Tensor): Bool, shape (H, W), with at least one pixel.

    Returns:
        float: 0 to 1.
    """
    count = int(mask.sum())
    limit = relevance.flatten().topk(count).values[-1]
    above, level = relevance > limit, relevance == limit
    hits = int((above & mask).sum())
    taken = (count - int(above.sum())) / int(level.sum())
    return (hits + taken * int((level & mask).sum())) / count


@METRICS.register_module()
class RelevanceMetric(BaseMetric):
    """Measure how well the relevance map of each class in an image agrees with its mask.

    ``relevance_mass`` and ``rank_accuracy``, in per cent: mean over the images of a class, then over the classes. The
    maps are the ``seg_logits`` of :class:`mmfss.models.UnrolledLRPSegmentor`; void pixels are left out.

    Args:
        skip_background (bool): Leave out class 0.
        ignore_index (int): Label of void pixels.
        collect_device, prefix: See MMEngine's ``BaseMetric``.
    """

    def __init__(self, skip_background: bool = True, ignore_index: int = 255, collect_device: str = 'cpu',
                 prefix: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(collect_device, prefix, **kwargs)
        self.first, self.ignore_index = int(skip_background), ignore_index

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Add up the figures of the classes in each image."""
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            target, maps = sample['gt_sem_seg']['data'][0], sample['seg_logits']['data']
            known = target != self.ignore_index
            sums = np.zeros((3, num_classes))
            for c in target[known].unique().tolist():
                if self.first <= c < num_classes:
                    relevance, mask = maps[c][known], target[known] == c
                    sums[:, c] = 1, relevance_mass(relevance, mask), relevance_rank_accuracy(relevance, mask)
            self.results.append(sums)

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the means, in per cent."""
        count, mass, accuracy = np.sum(results, axis=0)
        there = count > 0
        return {name: round(100 * float((sums[there] / count[there]).mean()), 4) if there.any() else float('nan')
                for name, sums in (('relevance_mass', mass), ('rank_accuracy', accuracy))}
