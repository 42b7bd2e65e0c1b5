"""Study of one image of a classifier that segments by its relevance."""
import time
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mmfss.evaluation.image_perturbation import area_under, perturbation_curve
from mmfss.evaluation.relevance import relevance_mass, relevance_rank_accuracy
from mmfss.explainers.image_maps import IMAGE_MAPS, UNSIGNED
from mmfss.models import UnrolledLRPSegmentor
from ..run_folder import Arrays, Record
from .study import class_counts

# Name: (higher is better, per cent, curve's mode and substrate)
RELEVANCE_METRICS: dict[str, tuple[bool, bool, tuple[str, ...]]] = {
    'relevance_mass': (True, True, ()), 'rank_accuracy': (True, True, ()),
    **{f'{mode}_{substrate}': (mode == 'insertion', False, (mode, substrate))
       for mode in ('deletion', 'insertion') for substrate in ('mean', 'blur')}}


class RelevanceStudy:
    """Explain the logits of the classes that an image shows or is said to show.

    Args:
        classes (Sequence[str]): Names of the K classes.
        explainers (Sequence[str]): Names of :data:`IMAGE_MAPS`.
        metrics (Sequence[str]): Names of :data:`RELEVANCE_METRICS`.
        region (str): Which classes: those of the segmentation (``'prediction'``) or of the annotation
            (``'ground_truth'``), or both (``'all'``); never the background.
        step (float): Share of the pixels in a step of deletion and insertion.
        seed (int): Seed of the control.
    """

    def __init__(self, classes: Sequence[str], explainers: Sequence[str], metrics: Sequence[str], region: str,
                 step: float, seed: int) -> None:
        self.classes, self.explainers, self.metrics = classes, explainers, metrics
        self.region, self.step, self.seed = region, step, seed

    def __call__(self, model: UnrolledLRPSegmentor, index: int, image: Tensor, sample: Any,
                 picture: np.ndarray) -> tuple[Record, Arrays]:
        """Study one image.

        Args:
            model (UnrolledLRPSegmentor): The model, in eval mode.
            index (int): Index of the image.
            image (Tensor): Normalized, shape (1, 3, H, W).
            sample (SegDataSample): Its annotation and metainfo; the prediction is added.
            picture (np.ndarray): The image, (h, w, 3) uint8 RGB.

        Returns:
            tuple[dict, dict]: The record and the arrays, see :class:`RelevanceExplanationLoop`.
        """
        start = time.perf_counter()
        with torch.no_grad():
            sample, = model.predict(image, [sample])
        seconds = time.perf_counter() - start
        prediction = sample.pred_sem_seg.data[0].long()
        target = self._target(sample)
        counts = class_counts(prediction, target, len(self.classes))
        chosen = self._chosen(prediction, target)
        path = sample.metainfo.get('img_path')
        name = Path(path).name if path else None
        record: Record = dict(
            index=index, empty=not chosen, reason=None if chosen else f'The region "{self.region}" shows no class.',
            info=dict(img_path=path, name=name, query_name=name, upright=False,
                      class_names=[f'{self.classes[c]} (logit {sample.cls_logits[c]:.2f})' for c in chosen],
                      support_names=[[self._caption(prediction, target, c)] for c in chosen]),
            counts={self.classes[c]: pair for c, pair in counts.items()}, class_ids=chosen,
            cls_logits={self.classes[c]: float(value) for c, value in enumerate(sample.cls_logits)},
            confusion=self._confusion(prediction, target), prediction_seconds=seconds, contributions={},
            iou=None if not counts else sum(hit / union for hit, union in counts.values()) / len(counts), scores={},
            seconds={}, neutral={name: [0.] * len(chosen) for name in self.explainers if name not in UNSIGNED})
        arrays = self._arrays(prediction, target, chosen, picture)
        if chosen:
            maps = self._maps(model, image, chosen, index, record)
            self._score(model, image, maps, target, chosen, record)
            arrays.update({name: values.cpu().numpy()[:, None].astype('float16') for name, values in maps.items()})
        return record, arrays

    def _target(self, sample: Any) -> Tensor | None:
        if 'gt_sem_seg' not in sample:
            return None
        labels = sample.gt_sem_seg.data[0].long()
        return labels.masked_fill((labels < 0) | (labels >= len(self.classes)), -1)

    def _chosen(self, prediction: Tensor, target: Tensor | None) -> list[int]:
        sources = dict(prediction=[prediction], ground_truth=[target], all=[prediction, target])[self.region]
        return sorted({c for labels in sources if labels is not None for c in labels.unique().tolist() if c > 0})

    def _maps(self, model: UnrolledLRPSegmentor, image: Tensor, chosen: list[int], index: int,
              record: Record) -> dict[str, Tensor]:
        maps = {}
        for name in self.explainers:
            start = time.perf_counter()
            with torch.no_grad():
                maps[name] = IMAGE_MAPS[name](model, image, chosen, self.seed + index).float()
            record['seconds'][name] = time.perf_counter() - start
        return maps

    def _score(self, model: UnrolledLRPSegmentor, image: Tensor, maps: Mapping[str, Tensor], target: Tensor | None,
               chosen: list[int], record: Record) -> None:
        """Score each map; a figure of an image is the mean over its classes."""
        for metric in self.metrics:
            curve_of = RELEVANCE_METRICS[metric][2]
            for name, values in maps.items():
                if curve_of:
                    curves = [perturbation_curve(model.classify, image, values[n], c, *curve_of, step=self.step)
                              for n, c in enumerate(chosen)]
                    curve = np.mean(curves, axis=0).tolist()
                    score = dict(value=area_under(curve), curve=curve)
                else:
                    score = dict(value=self._agreement(metric, values, target, chosen))
                record['scores'].setdefault(metric, {})[name] = score

    @staticmethod
    def _agreement(metric: str, values: Tensor, target: Tensor | None, chosen: list[int]) -> float | None:
        measure = relevance_mass if metric == 'relevance_mass' else relevance_rank_accuracy
        if target is None:
            return None
        # Maps have the size of the network's input, annotations their own.
        grown = torch.nn.functional.interpolate(values[None], target.shape, mode='bilinear', align_corners=False)[0]
        known = target >= 0
        found = [measure(grown[n][known], (target == c)[known]) for n, c in enumerate(chosen) if (target == c).any()]
        return float(np.mean(found)) if found else None

    def _confusion(self, prediction: Tensor, target: Tensor | None) -> list[list[int]]:
        """List true class, predicted class and number of pixels of what is wrong, most first."""
        if target is None:
            return []
        wrong = (target >= 0) & (prediction != target)
        pairs, counts = torch.stack((target[wrong], prediction[wrong])).unique(dim=1, return_counts=True)
        rows = [[*pair, count] for pair, count in zip(pairs.T.tolist(), counts.tolist())]
        return sorted(rows, key=lambda row: -row[2])

    def _caption(self, prediction: Tensor, target: Tensor | None, class_id: int) -> str:
        """Describe what a class is confused with in this image."""
        rows = [(truth, found, count) for truth, found, count in self._confusion(prediction, target)
                if class_id in (truth, found)]
        if not rows:
            return 'annotated pixels'
        truth, found, count = rows[0]
        return f'annotated pixels; most confused: {self.classes[truth]} as {self.classes[found]} ({count} px)'

    @staticmethod
    def _arrays(prediction: Tensor, target: Tensor | None, chosen: list[int], picture: np.ndarray) -> Arrays:
        """Number the explained classes 1 to N, as the pages do; other classes count as background."""

        def numbered(labels: Tensor) -> np.ndarray:
            out = torch.zeros_like(labels)
            for number, class_id in enumerate(chosen, start=1):
                out[labels == class_id] = number
            return out.masked_fill(labels < 0, 255).cpu().numpy().astype(np.uint8)

        shown = numbered(prediction)
        truth = shown if target is None else numbered(target)
        numbers = range(1, len(chosen) + 1)
        region = np.array([shown == n for n in numbers], np.uint8).reshape(-1, *shown.shape)
        masks = np.array([[truth == n] for n in numbers], np.uint8).reshape(-1, 1, *truth.shape)
        # The image is its own support.
        arrays = dict(prediction=shown, region=region, support_masks=masks, query=picture,
                      supports=np.array([[picture]] * len(chosen), np.uint8))
        return arrays if target is None else dict(arrays, target=truth)
