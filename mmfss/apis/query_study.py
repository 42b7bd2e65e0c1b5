"""Study of one prediction: its explanations, what a query pixel attends to, and how true an explanation is."""
import copy
from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from mmfss.evaluation.attribution import InsertionDeletion, PerturbedEpisode, build_attribution_metric
from mmfss.evaluation.attribution.functional import area_under_curve, class_iou, rank_pixels
from mmfss.structures import Episode
from .inferencer import FewShotInferencer
from .query_explanation import Explain, QueryExplainer, WayExplanation, build_explainer
from .regions import QueryRegion
from .support_set import EncodedSupport

Report = Callable[[float], None]
"""Called with the finished share of a work, 0 to 1."""


@dataclass(frozen=True)
class Explained:
    """Hold an explanation of a query, at network size.

    Attributes:
        config (str | dict | Explainer): The explainer, as it was asked for.
        name (str): The explainer's name.
        region (str | Path | np.ndarray): What was explained, as it was asked for.
        regions (Tensor): The same for each class, boolean, (N, h, w).
        ways (list[WayExplanation | None]): Of each class; None if its region is empty.
        result (dict): The same at original sizes, see :class:`QueryExplainer`.
    """
    config: Explain
    name: str
    region: QueryRegion
    regions: Tensor
    ways: list[Optional[WayExplanation]]
    result: dict[str, Any]


@dataclass(frozen=True)
class CausalCurve:
    """Hold an insertion or deletion curve with its states.

    Attributes:
        mode (str): ``'ins'`` or ``'del'``.
        value (float): Area under the scores, 0 to 1.
        scores (list[float]): Of T states: IoU of the class with ``compared_with``.
        num_changed (list[int]): Support pixels changed in each state.
        predictions (np.ndarray): What the model makes of each state, boolean, (T, h, w).
        ranks (np.ndarray): Rank of each support pixel, 0 changes first, (K, H, W).
        compared_with (str): ``'truth'``, or ``'prediction'``, the model's own from all support pixels.
    """
    mode: str
    value: float
    scores: list[float]
    num_changed: list[int]
    predictions: np.ndarray
    ranks: np.ndarray
    compared_with: str

    def shown(self, state: int) -> np.ndarray:
        """Select the support pixels that the model sees in a state, boolean, (K, H, W)."""
        changed = self.ranks < self.num_changed[state]
        return changed if self.mode == 'ins' else ~changed


class QueryStudy:
    """Segment one query, and answer questions about the prediction.

    Everything is a function of the arguments: studies share the model, and nothing else.

    Args:
        inferencer (FewShotInferencer): The model.
        query (np.ndarray): (H, W, 3) uint8, in the order of channels of the inferencer.
        support (EncodedSupport): The support set.
        target (np.ndarray, optional): The truth, labels 0..N or 255 for ignored, (H, W).
        threshold (float, optional): Probability above which a pixel is foreground; by default that of the model.

    Attributes:
        result (dict): The prediction, see :meth:`FewShotInferencer.predict`, with logits.
        network_query (Tensor): The query as the model sees it, normalized, (3, h, w).

    Example:
        >>> import numpy as np
        >>> from mmengine.config import Config
        >>> from mmfss.apis import FewShotInferencer
        >>> from mmfss.apis.query_study import QueryStudy
        >>> from mmfss.models import FewShotSegmentor
        >>> backbone = dict(type='mmpretrain.ResNet', depth=18)
        >>> model = FewShotSegmentor(backbone, head=dict(type='DCAMAHead')).eval()  # untrained
        >>> model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[
        ...     dict(type='ForEachImage', transforms=[
        ...         dict(type='LoadEpisodeImage'),
        ...         dict(type='ResizeEpisodeImage', scale=(64, 64))])]))))
        >>> inferencer = FewShotInferencer(model)
        >>> image, mask = np.full((40, 60, 3), 9, np.uint8), np.eye(40, 60, dtype=np.uint8)
        >>> study = QueryStudy(inferencer, image, inferencer.encode_support({'mug': [(image, mask)]}))
        >>> explained = study.explain('signed_affex', region='all')
        >>> explained.result['attributions'][0][0].shape
        (40, 60)
    """

    def __init__(self,
                 inferencer: FewShotInferencer,
                 query: np.ndarray,
                 support: EncodedSupport,
                 target: Optional[np.ndarray] = None,
                 threshold: Optional[float] = None) -> None:
        if target is not None and target.shape != query.shape[:2]:
            raise ValueError(f'The truth has size {target.shape}, but the query has {query.shape[:2]} (H, W): they '
                             'must be equal.')
        self.inferencer = with_threshold(inferencer, threshold)
        self.query = query
        self.support = support
        self.target = target
        self.result = self.inferencer.predict(query, support=support, return_logits=True, explain=False)
        self.network_query = self.inferencer.network_query(query)

    @property
    def mask(self) -> np.ndarray:
        """The prediction, labels 0..N, (H, W) uint8."""
        return self.result['mask']

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is foreground."""
        return self.inferencer.model.threshold

    def iou(self) -> Optional[list[float]]:
        """Compute the IoU of each class with the truth, 0 to 1; None if it is not known."""
        if self.target is None:
            return None
        return class_iou(*(torch.from_numpy(x.astype(np.int64)) for x in (self.mask, self.target)),
                         len(self.support.class_names))

    def explain(self, explain: Explain = 'signed_affex', region: QueryRegion = 'prediction') -> Explained:
        """Explain the prediction in a region.

        Args:
            explain (str | dict | Explainer): The explainer, see :func:`build_explainer`.
            region (str | Path | np.ndarray): See :func:`~mmfss.apis.regions.query_regions`; also ``'ground_truth'``,
                the pixels of each class in the truth.

        Raises:
            ValueError: If the region is wrong or empty, or the explainer is unknown or cannot explain this model.
        """
        name, explainer = build_explainer(explain)
        given = region
        if isinstance(region, str) and region == 'ground_truth':
            if self.target is None:
                raise ValueError('The region "ground_truth" needs a query whose truth is known.')
            region = self.target == np.arange(1, len(self.support.class_names) + 1)[:, None, None]
        logits = torch.from_numpy(self.result['network_logits']).to(self.network_query.device)
        regions = self.inferencer.network_regions(region, self.mask, logits)
        if not regions.any():
            raise ValueError('The model predicts no class in this query: choose another region than the prediction.')
        query_explainer = QueryExplainer(self.inferencer.model, name, explainer, self.support)
        ways = query_explainer.explain(self.network_query, regions)
        return Explained(explain, name, given, regions, ways, query_explainer.to_result(ways))

    @torch.no_grad()
    def read_pixel(self, way: int, x: int, y: int) -> list[np.ndarray]:
        """Read what a query pixel attends to, in each compared layer.

        Args:
            way (int): The class, 0 is the first.
            x (int): Column of the pixel in the query.
            y (int): Its row.

        Returns:
            list[np.ndarray]: For each layer the share of every support position in the pixel's attention, (K, h', w'),
            sum 1 (less where the query also attends to its own image).

        Raises:
            ValueError: If the pixel lies outside of the query, or the model has no affinities.
        """
        height, width = self.query.shape[:2]
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f'The pixel ({x}, {y}) lies outside of the query, which has {width} x {height} pixels.')
        model = self.inferencer.model
        matched = model.matched_ways(model.extract_feat(self.network_query[None]), self.support.encoding)[way]
        readings = []
        for affinity in matched.affinities:
            rows, columns = affinity.query_size
            chosen = torch.zeros(1, affinity.num_query, 1, device=self.network_query.device)
            chosen[0, (y * rows // height) * columns + x * columns // width] = 1
            readings.append(affinity.vote(chosen)[0, :, 0].unflatten(0, affinity.support_size).cpu().numpy())
        return readings

    def episode(self, way: int) -> Episode:
        """Return the query and the supports of one class as an episode of one way, at network size.

        Its target is the truth if that is known. Other classes are background.
        """
        explainer = QueryExplainer(self.inferencer.model, '', None, self.support)
        episode = explainer.episode(self.network_query, [way])
        target = None
        if self.target is not None:
            labels = np.where(self.target == 255, 255, self.target == way + 1).astype(np.uint8)
            labels = cv2.resize(labels, episode.query_size[::-1], interpolation=cv2.INTER_NEAREST)
            target = torch.from_numpy(labels).long().to(self.network_query.device)
        return Episode(episode.query, episode.support, episode.masks, target, episode.info)

    def _judged(self, way: int) -> tuple[PerturbedEpisode, str]:
        """Return the episode of a class with a target, the truth or the model's own prediction, and which it is."""
        episode = self.episode(way)
        subject = PerturbedEpisode(self.inferencer.model, episode)
        if episode.target is not None:
            return subject, 'truth'
        own = subject.original_logits.argmax(0)
        return PerturbedEpisode(self.inferencer.model, Episode(
            episode.query, episode.support, episode.masks, own, episode.info)), 'prediction'

    def measure(self, explained: Explained, way: int, metrics: Sequence[str],
                report: Optional[Report] = None) -> dict[str, float]:
        """Measure the explanation of one class, whose supports alone are changed.

        Args:
            explained (Explained): An explanation of this study.
            way (int): The class, 0 is the first.
            metrics (Sequence[str]): Names of :data:`~mmfss.evaluation.attribution.KNOWN_METRICS`.
            report (Callable, optional): Told the finished share.

        Returns:
            dict[str, float]: Values by name. IoU is with the truth if that is known, else with the model's own
            prediction from all support pixels.

        Raises:
            ValueError: If a metric is unknown, or the class has no explanation.
        """
        attribution, region = _of_way(explained, way)
        subject, _ = self._judged(way)
        values = {}
        for number, name in enumerate(metrics, start=1):
            values[name] = build_attribution_metric(name).measure(subject, attribution, region).value
            if report is not None:
                report(number / len(metrics))
        return values

    def curve(self, explained: Explained, way: int, mode: str = 'ins', num_steps: int = 10,
              report: Optional[Report] = None) -> CausalCurve:
        """Follow the prediction while support pixels are inserted or deleted in the order of the explanation.

        Args:
            explained (Explained): An explanation of this study.
            way (int): The class, 0 is the first.
            mode (str): ``'ins'`` or ``'del'``.
            num_steps (int): Number of equal steps; the first state, without change, is shown too.
            report (Callable, optional): Told the finished share.

        Raises:
            ValueError: If the mode is unknown, or the class has no explanation.
        """
        attribution, region = _of_way(explained, way)
        subject, compared_with = self._judged(way)
        metric = InsertionDeletion(mode, num_steps=num_steps)
        states = []
        for snapshot in metric.replay(subject, attribution, region):
            states.append((snapshot.score, snapshot.num_changed, (snapshot.logits.argmax(0) == 1).cpu().numpy()))
            if report is not None:
                report(len(states) / (num_steps + 1))
        scores, num_changed, predictions = zip(*states)
        return CausalCurve(mode, area_under_curve(scores), list(scores), list(num_changed), np.stack(predictions),
                           rank_pixels(attribution)[0].cpu().numpy(), compared_with)


def with_threshold(inferencer: FewShotInferencer, threshold: Optional[float]) -> FewShotInferencer:
    """Return an inferencer with another threshold, which shares the weights; the given one does not change.

    Raises:
        ValueError: If the threshold is not between 0 and 1.
    """
    if threshold is None or threshold == inferencer.model.threshold:
        return inferencer
    if not 0 < threshold < 1:
        raise ValueError(f'The threshold is a probability between 0 and 1, got {threshold}.')
    other = copy.copy(inferencer)
    other.model = copy.copy(inferencer.model)
    other.model.threshold = threshold
    return other


def _of_way(explained: Explained, way: int) -> tuple[Tensor, Tensor]:
    """Return attribution (1, K, H, W) and region (1, h, w) of a class."""
    if explained.ways[way] is None:
        raise ValueError('This class has no explanation, because its region is empty.')
    return explained.ways[way].attribution[None], explained.regions[way:way + 1]
