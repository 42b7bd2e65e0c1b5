"""Decomposition of a prototype model's prediction for one image."""
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.models.decode_heads.logit_reading import LogitReading
from mmfss.prototypes.embedding import prototype_head
from mmfss.prototypes.sources import PrototypeSources
from mmfss.utils.config_options import ConfigError
from mmfss.utils.timing import timed
from ..map_store import MapStore
from ..run_folder import Arrays, Record


class ImageStudy:
    """Decompose the mean logits of the classes in an image, and of the classes they are confused with.

    Args:
        classes (Sequence[str]): Names of the C classes.
        region (str): What is explained of a class: the pixels that the model gives it (``'prediction'``), those that
            have it (``'ground_truth'``), or the whole image, for every class that is predicted or there (``'all'``).
        failures (float): A class of lower IoU in the image is a failure.
        top (int): Prototypes of a group that are shown with their maps; in stage 1, of a class, three times as many.
        sources (PrototypeSources, optional): Where the prototypes come from.
    """

    def __init__(self, classes: Sequence[str], region: str = 'prediction', failures: float = 0.5, top: int = 4,
                 sources: Optional[PrototypeSources] = None) -> None:
        self.classes, self.region, self.failures, self.top, self.sources = classes, region, failures, top, sources

    @torch.no_grad()
    def __call__(self, model: nn.Module, index: int, image: Tensor, sample: Any) -> tuple[Record, Arrays]:
        """Study one image.

        Args:
            model (nn.Module): A segmentor with a prototype head, in eval mode.
            index (int): Index of the image.
            image (Tensor): Normalized, shape (1, 3, H, W).
            sample (SegDataSample): Its annotation and metainfo.

        Returns:
            tuple[dict, dict]: The record and the arrays, see :class:`PrototypeExplanationLoop`.

        Raises:
            ConfigError: If the image is padded, or the region is the ground truth and there is none.
        """
        # Predict and count
        sizes = logit_sizes(model, image, sample)
        reading, seconds = timed(lambda: self._read(model, image), image.device)
        prediction = resized(reading.logits.float(), sizes, model.align_corners).argmax(0)
        target = self._target(sample, prediction)
        counts = class_counts(prediction, target, len(self.classes))
        record = dict(
            index=index, info=_info(sample), empty=False, reason=None, seconds=seconds,
            counts={self.classes[c]: pair for c, pair in counts.items()}, iou=_mean_iou(counts), classes=[],
            failures=[])
        maps, choices = MapStore(), MapStore()

        def tree(class_id: int, pixels: Tensor) -> Record:
            weights = region_weights(pixels, reading.logits.shape[1:], sizes, model.align_corners)
            return self._tree(reading, class_id, weights, int(pixels.sum()), maps, choices)

        # Decompose the classes in their regions, then the confusions of the worst
        for class_id, pixels in self._regions(prediction, target):
            record['classes'].append(dict(tree(class_id, pixels), iou=_iou(counts.get(class_id))))
        for class_id, iou in self._failed(counts):
            truth, predicted, pixels = confusion(prediction, target, class_id)
            record['failures'].append(dict(
                class_id=class_id, class_name=self.classes[class_id], iou=iou, truth=truth, predicted=predicted,
                pixels=int(pixels.sum()), explained=[tree(truth, pixels), tree(predicted, pixels)]))
        if not record['classes']:
            record.update(empty=True, reason=f'The region "{self.region}" has no pixel of any class.')
        # Maps as arrays
        arrays = dict(maps=maps.array('float16'), choices=choices.array('uint16'), prediction=_labels(prediction))
        if target is not None:
            arrays['target'] = _labels(target)
        return record, arrays

    @staticmethod
    def _read(model: nn.Module, image: Tensor) -> LogitReading:
        head = prototype_head(model)
        return head.read(head.features(model.extract_feat(image)))

    def _target(self, sample: Any, prediction: Tensor) -> Optional[Tensor]:
        """Return the labels, -1 for void, at the size of the prediction."""
        if 'gt_sem_seg' not in sample:
            if self.region == 'ground_truth':
                raise ConfigError('The region "ground_truth" needs a dataset with labels; test_dataloader has none.')
            return None
        labels = sample.gt_sem_seg.data[0].long().to(prediction.device)
        return labels.masked_fill((labels < 0) | (labels >= len(self.classes)), -1)

    def _regions(self, prediction: Tensor, target: Optional[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Select the explained classes, ascending, each with its pixels (H, W)."""
        labels = dict(prediction=[prediction], ground_truth=[target],
                      all=[prediction] + ([] if target is None else [target]))[self.region]
        for class_id in sorted({c for part in labels for c in part.unique().tolist() if c >= 0}):
            yield class_id, torch.ones_like(prediction) > 0 if self.region == 'all' else labels[0] == class_id

    def _failed(self, counts: dict[int, list[int]]) -> list[tuple[int, float]]:
        found = [(class_id, _iou(pair)) for class_id, pair in counts.items()]
        return sorted((entry for entry in found if entry[1] < self.failures), key=lambda entry: entry[1])

    def _tree(self, reading: LogitReading, class_id: int, weights: Tensor, pixels: int, maps: MapStore,
              choices: MapStore) -> Record:
        """Describe a class's mean logit, see :mod:`mmfss.visualization.decomposition`."""
        parts, head = reading.explain(class_id, weights), reading.head
        members = head.class_prototypes(class_id).tolist()

        def describe(entries: Sequence[Record], shown: int) -> list[Record]:
            """Describe prototypes, the first of them with their maps."""
            return [dict(
                index=entry['index'], scale=entry['scale'], colour=members.index(entry['index']),
                weight=entry['weight'], activation=entry['similarity'], contribution=entry['contribution'],
                source=self._source(entry['index']), **(dict(map=maps.add(
                    ('prototype', entry['index']), reading.similarities[entry['index']])) if place < shown else {}))
                for place, entry in enumerate(entries)]

        # Groups, or in stage 1 a single one of all prototypes
        if head.num_groups:
            numbers = reading.group_numbers(class_id).tolist()
            groups = [dict(
                title=f'group {group["group"] + 1}', colour=group['group'], weight=group['weight'],
                activation=group['activation'], contribution=group['contribution'],
                map=maps.add(('group', numbers[group['group']]), reading.log_groups[numbers[group['group']]]),
                prototypes=describe(group['prototypes'], self.top)) for group in parts['groups']]
        else:
            groups = [dict(
                title='', colour=None, weight=None, activation=None, map=None,
                contribution=sum(entry['contribution'] for entry in parts['prototypes']),
                prototypes=describe(parts['prototypes'], 3 * self.top))]
        # Strongest group and prototype at each position
        chosen = []
        if head.num_groups and groups:
            chosen.append(dict(caption='strongest group',
                               choice=choices.add(('group', class_id), reading.strongest_group(class_id))))
        if members:
            chosen.append(dict(caption='strongest prototype',
                               choice=choices.add(('prototype', class_id), reading.strongest_prototype(class_id))))
        return dict(
            class_id=class_id, class_name=self.classes[class_id], pixels=pixels, quantity='logit', total=parts['logit'],
            groups=groups, choices=chosen,
            terms=[dict(name=self.classes[other['class_id']], **other) for other in parts['others']])

    def _source(self, prototype: int) -> Optional[dict[str, Any]]:
        if self.sources is None:
            return None
        record = self.sources[prototype]
        return {key: record[key] for key in ('image', 'image_size', 'cell', 'grid', 'activation_box') if key in record}


def logit_sizes(model: nn.Module, image: Tensor, sample: Any) -> list[tuple[int, int]]:
    """List the sizes to which the model enlarges logits in testing, in order.

    Args:
        model (nn.Module): A segmentor.
        image (Tensor): Shape (1, 3, H, W).
        sample (SegDataSample): Its metainfo holds the size of the annotation and the padding of the image.

    Raises:
        ConfigError: If the image was padded, or is tested window by window.
    """
    if model.test_cfg.get('mode', 'whole') != 'whole':
        raise ConfigError(f'model.test_cfg.mode is {model.test_cfg.mode!r}: only images that are tested as a whole '
                          "can be decomposed. Set it to 'whole'.")
    meta = sample.metainfo
    if any(any(meta.get(key, ())) for key in ('padding_size', 'img_padding_size')):
        raise ConfigError(f'The image "{meta.get("img_path")}" was padded for testing; set '
                          'model.data_preprocessor.test_cfg to None to decompose images.')
    labelled = 'gt_sem_seg' in sample
    final = tuple(sample.gt_sem_seg.shape[-2:] if labelled else meta.get('ori_shape', image.shape[2:])[:2])
    return [final] if getattr(model, 'one_step_resize', False) else [tuple(image.shape[2:]), final]


def resized(maps: Tensor, sizes: Sequence[tuple[int, int]], align_corners: bool) -> Tensor:
    """Enlarge maps (C, h, w) bilinearly to each of the sizes in turn."""
    for size in sizes:
        maps = F.interpolate(maps[None], size, mode='bilinear', align_corners=align_corners)[0]
    return maps


def region_weights(region: Tensor, grid: Sequence[int], sizes: Sequence[tuple[int, int]],
                   align_corners: bool) -> Tensor:
    """Compute the weight of each grid cell in the mean of an enlarged map over a region.

    Args:
        region (Tensor): Pixels, bool, shape (H, W), at least one.
        grid (Sequence[int]): (h, w).
        sizes (Sequence[tuple]): See :func:`resized`; the last one is (H, W).
        align_corners (bool): See :func:`resized`.

    Returns:
        Tensor: Shape (h, w), float64, sum 1.
    """
    with torch.enable_grad():
        cells = torch.zeros(1, *grid, dtype=torch.float64, device=region.device, requires_grad=True)
        mean = resized(cells, sizes, align_corners)[0][region].mean()
        return torch.autograd.grad(mean, cells)[0][0]


def class_counts(prediction: Tensor, target: Optional[Tensor], num_classes: int) -> dict[int, list[int]]:
    """Count intersection and union of every predicted or annotated class, without void pixels."""
    if target is None:
        return {}
    known = target >= 0
    found, there = prediction[known], target[known]
    bins = [torch.bincount(x, minlength=num_classes).tolist() for x in (found[found == there], found, there)]
    return {c: [hit, predicted + true - hit] for c, (hit, predicted, true) in enumerate(zip(*bins))
            if predicted or true}


def confusion(prediction: Tensor, target: Tensor, class_id: int) -> tuple[int, int, Tensor]:
    """Find the class that a class is mostly confused with.

    Args:
        prediction (Tensor): Labels, shape (H, W).
        target (Tensor): Labels, -1 for void, shape (H, W); not all of the class is right.
        class_id (int): The class.

    Returns:
        tuple[int, int, Tensor]: The true and the predicted class of the most pixels that are wrong (one of the two is
        ``class_id``), and these pixels, bool.
    """
    wrong = (target >= 0) & (prediction != target) & ((target == class_id) | (prediction == class_id))
    pairs, counts = torch.stack((target[wrong], prediction[wrong])).unique(dim=1, return_counts=True)
    truth, predicted = pairs[:, counts.argmax()].tolist()
    return truth, predicted, (target == truth) & (prediction == predicted)


def _iou(pair: Optional[Sequence[int]]) -> Optional[float]:
    return pair[0] / pair[1] if pair else None


def _mean_iou(counts: dict[int, list[int]]) -> Optional[float]:
    return sum(hit / union for hit, union in counts.values()) / len(counts) if counts else None


def _labels(labels: Tensor) -> np.ndarray:
    """Convert labels to int16, void -1."""
    return labels.cpu().numpy().astype(np.int16)


def _info(sample: Any) -> dict[str, Any]:
    path = sample.metainfo.get('img_path')
    return dict(img_path=path, name=Path(path).name if path else None)
