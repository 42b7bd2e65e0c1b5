"""Metrics of the classifier in a segmentor, and of segmentation as published for unrolled LRP."""
from typing import Any, Optional, Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from mmfss.registry import METRICS


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Compute the area under the precision-recall curve: mean precision at the positives, ties as one step.

    Args:
        scores (np.ndarray): Shape (n,).
        labels (np.ndarray): 0 or 1, shape (n,).

    Returns:
        float: 0 to 1; not a number without a positive.

    Example:
        >>> import numpy as np
        >>> from mmfss.evaluation import average_precision
        >>> average_precision(np.array([.9, .8, .1]), np.array([1, 0, 1]))  # precision 1 and 2/3
        0.8333333333333333
    """
    if not labels.any():
        return float('nan')
    order = np.argsort(-scores, kind='stable')
    hits = np.cumsum(labels[order])
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    precision, recall = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0) * precision))


@METRICS.register_module()
class ImageLabelMetric(BaseMetric):
    """Measure the classification of whole images into several classes at once; a logit above 0 says "present".

    In per cent: ``exact_match`` (images with all classes right), ``class_accuracy`` (mean over classes), ``F1`` (macro:
    mean of the classes' 2 TP / (2 TP + FP + FN)) and ``mAP``; classes that no image has are left out of F1 and mAP.

    Args:
        skip_background (bool): Leave out class 0, which every image has.
        collect_device, prefix: See MMEngine's ``BaseMetric``.
    """

    def __init__(self, skip_background: bool = True, collect_device: str = 'cpu', prefix: Optional[str] = None,
                 **kwargs: Any) -> None:
        super().__init__(collect_device, prefix, **kwargs)
        self.first = int(skip_background)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Collect logits and labels."""
        for sample in data_samples:
            if 'cls_logits' not in sample or 'gt_image_labels' not in sample:
                missing = 'cls_logits (the model has no cls_head)' if 'cls_logits' not in sample else (
                    'gt_image_labels (end the test pipeline with PackPartialLabels)')
                raise ValueError(f'{type(self).__name__}: the samples have no {missing}.')
            self.results.append((sample['cls_logits'].float().cpu().numpy()[self.first:],
                                 sample['gt_image_labels'].cpu().numpy()[self.first:]))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the figures, in per cent."""
        logits, labels = (np.stack(part) for part in zip(*results))
        found = logits > 0
        right, there = found == labels, labels.any(0)
        true_positives = (found & (labels > 0)).sum(0)
        f1 = 2 * true_positives / np.maximum(found.sum(0) + labels.sum(0), 1)
        precisions = [average_precision(logits[:, c], labels[:, c]) for c in np.flatnonzero(there)]
        figures = dict(exact_match=right.all(1).mean(), class_accuracy=right.mean(), F1=f1[there].mean(),
                       mAP=np.mean(precisions))
        return {name: round(100 * float(value), 4) for name, value in figures.items()}


@METRICS.register_module()
class SummedIoUMetric(BaseMetric):
    """Compute mIoU as the official implementation of unrolled LRP: I / (U + 1e-8), sums over all images.

    The mean goes over all classes, the background and classes that no image shows (0) included. Void has been made
    background by the pipeline (``LoadPartialAnnotations(void='background')``); pixels of 255 that are left count
    nowhere.

    Args:
        collect_device, prefix: See MMEngine's ``BaseMetric``.
    """

    default_prefix = 'official'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the pixels of every class."""
        num_classes = len(self.dataset_meta['classes'])
        for sample in data_samples:
            found, target = (sample[name]['data'].squeeze(0).cpu().long() for name in ('pred_sem_seg', 'gt_sem_seg'))
            self.results.append(intersections_and_unions(found, target, num_classes))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute mIoU, in per cent."""
        intersection, union = np.sum(results, axis=0)
        return dict(mIoU=round(100 * float(np.mean(intersection / (union + 1e-8))), 4))


def intersections_and_unions(prediction: torch.Tensor, target: torch.Tensor, num_classes: int) -> np.ndarray:
    """Count intersection and union of every class, without pixels whose target is no class.

    Args:
        prediction (Tensor): Labels, shape (..., H, W), int64.
        target (Tensor): Labels, shape (..., H, W), int64.
        num_classes (int): K.

    Returns:
        np.ndarray: Shape (2, K), int64.
    """
    known = (target >= 0) & (target < num_classes)
    pairs = target[known] * num_classes + prediction[known]
    joint = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    intersection = joint.diagonal()
    return torch.stack((intersection, joint.sum(0) + joint.sum(1) - intersection)).numpy()
