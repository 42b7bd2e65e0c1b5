"""Interpretability metrics of prototypes, for :class:`mmfss.prototypes.PrototypeTestLoop`.

Every score is printed with its definition, since published implementations differ in details that move it.
"""
from abc import abstractmethod
from typing import Any, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from numpy import ndarray

from mmfss.models import PrototypeHead
from mmfss.registry import METRICS
from mmfss.utils.files import dump_json
from .group_report import group_report
from .overlap import activated, pairwise_overlap
from .presence import QUANTILE_SCOPES, part_presence
from .sample import PrototypeSample


class PrototypeMetric(BaseMetric):
    """Base class of metrics that keep a small record of every image, and define what they measure.

    Args:
        **kwargs: See MMEngine's ``BaseMetric``.
    """

    default_prefix = 'prototypes'
    needs_noise = False

    def process(self, data_batch: Any, data_samples: Sequence[PrototypeSample]) -> None:
        """Keep a record of every image.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[PrototypeSample]): The images.
        """
        self.results += [dict(index=sample.index, **self.measure(sample)) for sample in data_samples]

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Combine the records of all processes; an image in several of them counts once."""
        unique = {record['index']: record for record in results}
        scores = self.combine([unique[index] for index in sorted(unique)])
        print_log(f'{type(self).__name__}: {self.definition}', 'current')
        return scores

    @property
    @abstractmethod
    def definition(self) -> str:
        """Describe what the score means, with all settings."""

    @abstractmethod
    def measure(self, sample: PrototypeSample) -> dict[str, Any]:
        """Return the record of an image: numbers and small arrays."""

    @abstractmethod
    def combine(self, records: list[dict]) -> dict[str, float]:
        """Compute the scores of all images."""


class PartMetric(PrototypeMetric):
    """Base class of metrics of the object parts that activate prototypes.

    Args:
        max_parts (int): Largest part id: 5 for Cityscapes-Panoptic-Parts, 24 for Pascal-Part.
        quantile (float): A prototype is activated above this quantile of its map.
        quantile_scope (str): ``'class'`` or ``'image'``; see :func:`part_presence`.
        background_centroid (bool): See :func:`part_centres`; True is the published code's way.
        skip_classes (Sequence[int]): Classes that do not count.
        only_used (bool): Leave out prototypes that no group uses.
        **kwargs: See MMEngine's ``BaseMetric``.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(self,
                 max_parts: int,
                 quantile: float = 0.8,
                 quantile_scope: str = 'class',
                 background_centroid: bool = False,
                 skip_classes: Sequence[int] = (),
                 only_used: bool = True,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if quantile_scope not in QUANTILE_SCOPES:
            raise ValueError(f'quantile_scope must be one of {QUANTILE_SCOPES}, got {quantile_scope!r}.')
        if max_parts < 1 or not 0 <= quantile <= 1:
            raise ValueError(f'max_parts must be at least 1 and quantile lie in [0, 1], got {max_parts}, {quantile}.')
        self.max_parts, self.quantile, self.quantile_scope = max_parts, quantile, quantile_scope
        self.background_centroid, self.only_used = background_centroid, only_used
        self.skip_classes = frozenset(skip_classes)

    @property
    def settings(self) -> str:
        """Return the settings that affect the score."""
        return (f'activated above the {self.quantile:g}-quantile of the {self.quantile_scope}; '
                f'{"with" if self.background_centroid else "without"} the centre of what is outside a part; classes '
                f'left out: {sorted(self.skip_classes) or "none"}')

    def presence(self, sample: PrototypeSample, maps: ndarray) -> dict[int, tuple[ndarray, ndarray]]:
        """Map each class of an image with parts to its prototypes and their presence (P_c, max_parts + 1)."""
        found = {}
        for class_id in sample.classes() if sample.parts is not None else []:
            own = np.flatnonzero((sample.proto_class == class_id) & (sample.used | (not self.only_used)))
            if class_id in self.skip_classes or not len(own):
                continue
            presence = part_presence(maps[own], sample.labels, sample.parts, class_id, self.max_parts, self.quantile,
                                     self.quantile_scope, self.background_centroid)
            if presence is not None:
                found[class_id] = own, presence
        return found


@METRICS.register_module()
class PrototypeConsistency(PartMetric):
    """Compute the share of prototypes on the same part in nearly all images; in [0, 1], higher is better.

    Args:
        threshold (float): A prototype is consistent if its mean presence on some part exceeds this.
        **kwargs: See :class:`PartMetric`.
    """

    def __init__(self, *args: Any, threshold: float = 0.8, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.threshold = threshold

    @property
    def definition(self) -> str:
        return (f'share of prototypes that are on some part in more than {self.threshold:g} of the images that show '
                f'it; {self.settings}.')

    def measure(self, sample: PrototypeSample) -> dict[str, Any]:
        rows = self.presence(sample, sample.similarities).values()
        return dict(prototypes=np.concatenate([[], *(own for own, _ in rows)]).astype(np.int64),
                    presence=np.concatenate([np.zeros((0, self.max_parts + 1)), *(row for _, row in rows)]))

    def combine(self, records: list[dict]) -> dict[str, float]:
        prototypes = np.concatenate([record['prototypes'] for record in records])
        presence = np.concatenate([record['presence'] for record in records])
        if not len(prototypes):
            return dict(consistency=float('nan'), prototypes_with_parts=0)
        ids, place = np.unique(prototypes, return_inverse=True)
        shown, on = np.zeros((2, len(ids), self.max_parts + 1))
        np.add.at(shown, place, ~np.isnan(presence))
        np.add.at(on, place, np.nan_to_num(presence))
        # Single precision, as published: a mean of 0.8 is not above 0.8.
        means = np.divide(on, shown, out=np.zeros_like(on), where=shown > 0).astype(np.float32)
        consistent = (means > np.float32(self.threshold)).any(1)
        return dict(consistency=float(consistent.mean()), prototypes_with_parts=len(ids))


@METRICS.register_module()
class PrototypeStability(PartMetric):
    """Compute the share of (prototype, image) with the same parts under image noise; [0, 1], higher is better.

    Args:
        **kwargs: See :class:`PartMetric`.
    """

    needs_noise = True

    @property
    def definition(self) -> str:
        return f'share of (prototype, class, image) whose parts do not change with noise; {self.settings}.'

    def measure(self, sample: PrototypeSample) -> dict[str, Any]:
        if sample.noisy is None:
            raise ValueError('PrototypeStability needs maps of the image with noise: PrototypeTestLoop makes them.')
        clean, noisy = self.presence(sample, sample.similarities), self.presence(sample, sample.noisy)
        same = [(np.nan_to_num(row) == np.nan_to_num(noisy[class_id][1])).all(1)
                for class_id, (_, row) in clean.items()]
        return dict(stable=int(sum(rows.sum() for rows in same)), total=sum(len(rows) for rows in same))

    def combine(self, records: list[dict]) -> dict[str, float]:
        stable, total = (sum(record[key] for record in records) for key in ('stable', 'total'))
        return dict(stability=stable / total if total else float('nan'))


class OverlapMetric(PrototypeMetric):
    """Compute the overlap of activations in a class: intersection over union of all pairs; lower is better.

    Args:
        quantile (float): A map is activated above this quantile of its values over the image.
        num_images (int, optional): Random images to look at; all by default.
        seed (int): Of their choice, from ``num_total`` images.
        num_total (int, optional): Number of images of the dataset; needed with ``num_images``.
        **kwargs: See MMEngine's ``BaseMetric``.
    """

    name: str

    def __init__(self,
                 quantile: float = 0.95,
                 num_images: Optional[int] = None,
                 seed: int = 42,
                 num_total: Optional[int] = None,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_images is not None and num_total is None:
            raise ValueError(f'{type(self).__name__}: num_images needs num_total, the number of images there are.')
        self.quantile = quantile
        self.chosen = None
        if num_images is not None and num_images < num_total:
            self.chosen = set(np.random.RandomState(seed).choice(num_total, num_images, replace=False).tolist())

    @property
    def definition(self) -> str:
        images = 'all' if self.chosen is None else f'those of {len(self.chosen)} random'
        return (f"sum of intersections over sum of unions of all pairs of a class's {self.name}s in {images} images "
                f'that show it, activated above the {self.quantile:g}-quantile of the image.')

    @abstractmethod
    def maps(self, sample: PrototypeSample) -> tuple[Optional[ndarray], Optional[ndarray]]:
        """Return the maps and the class of each."""

    def measure(self, sample: PrototypeSample) -> dict[str, Any]:
        maps, owner = self.maps(sample)
        if maps is None:
            raise ValueError(f'{type(self).__name__} needs a model with {self.name}s.')
        counts = {}
        for class_id in sample.classes() if self.chosen is None or sample.index in self.chosen else []:
            own = maps[owner == class_id]
            if len(own) > 1:
                counts[class_id] = pairwise_overlap(activated(own, sample.labels.shape, self.quantile))
        return dict(counts=counts)

    def combine(self, records: list[dict]) -> dict[str, float]:
        sums: dict[int, ndarray] = {}
        for record in records:
            for class_id, counts in record['counts'].items():
                sums[class_id] = sums.get(class_id, 0) + np.array(counts, np.int64)
        total = sum(sums.values()) if sums else np.zeros(2)
        scores = {f'{self.name}_overlap': float(total[0] / total[1]) if total[1] else float('nan')}
        scores.update({f'{self.name}_overlap/class_{c}': float(i / u) for c, (i, u) in sorted(sums.items()) if u})
        return scores


@METRICS.register_module()
class GroupOverlap(OverlapMetric):
    """Compute the overlap of the groups of a class; see :class:`OverlapMetric`."""

    name = 'group'

    def maps(self, sample: PrototypeSample) -> tuple[Optional[ndarray], Optional[ndarray]]:
        return sample.groups, sample.group_class


@METRICS.register_module()
class PrototypeOverlap(OverlapMetric):
    """Compute the overlap of the prototypes of a class; see :class:`OverlapMetric`. Published: 500 random images."""

    name = 'prototype'

    def maps(self, sample: PrototypeSample) -> tuple[ndarray, ndarray]:
        return sample.similarities, sample.proto_class


@METRICS.register_module()
class GroupSparsity(BaseMetric):
    """Report how few prototypes the groups of the model use, and which; see :func:`group_report`.

    Args:
        out_file (str, optional): JSON file for the whole report, with the composition of every group.
        **kwargs: See MMEngine's ``BaseMetric``.
    """

    default_prefix = 'prototypes'

    def __init__(self, out_file: Optional[str] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out_file = out_file
        self._report: dict[str, Any] = {}

    def observe(self, head: PrototypeHead) -> None:
        """Compute the report of the model.

        Args:
            head (PrototypeHead): Its head.

        Raises:
            ValueError: If it has no groups.
        """
        if not head.num_groups:
            raise ValueError(f'GroupSparsity needs a model with groups, not a {type(head).__name__}.')
        self._report = group_report(head, classes=(self.dataset_meta or {}).get('classes'))

    def process(self, data_batch: Any, data_samples: Sequence[PrototypeSample]) -> None:
        """Count the images only: the report depends on the model alone."""
        self.results += [None] * len(data_samples)

    def compute_metrics(self, results: list[None]) -> dict[str, float]:
        """Return the figures of the report."""
        if self.out_file is not None:
            dump_json(self._report, self.out_file)
        names = ('prototypes', 'used_prototypes', 'prototypes_per_group', 'scales_per_group', 'single_groups')
        for name in names:
            print_log(f'{name}: {self._report["definitions"][name]}.', 'current')
        return {**{name: self._report[name] for name in names}, 'entropy': self._report['entropy']['after']}
