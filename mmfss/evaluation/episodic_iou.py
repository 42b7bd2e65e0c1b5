"""mIoU and FB-IoU of few-shot segmentation."""
from typing import Any, Literal, Sequence

import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from prettytable import PrettyTable
from torch import Tensor

from mmfss.registry import METRICS
from .episode_table import EpisodeRow, episode_rows
from .functional import (
    BACKGROUND,
    FOREGROUND,
    CountTable,
    Scores,
    bootstrap_intervals,
    compute_scores,
    episode_counts,
    tabulate_counts,
)


@METRICS.register_module()
class EpisodicIoU(BaseMetric):
    """Compute mIoU over the classes of the fold and FB-IoU, with the official accumulation (see :mod:`.functional`).

    The state is one dict of integers per episode. Therefore the figures do not depend on the number of processes, and
    no image is kept. The classes come from the dataset's metainfo: ``classes`` (all names of the benchmark) and
    ``fold_class_ids``. A class of the fold without episode counts as 0, as in the official evaluation, and a
    warning names it.

    Results: ``mIoU`` and ``FB-IoU`` in per cent (higher is better); ``mIoU_interval`` and ``FB-IoU_interval``, low and
    high end of the 95 % percentile bootstrap interval over episodes; ``class_IoU``, the foreground IoU by class name;
    ``episodes``, their number.

    Attributes:
        episodes (list[EpisodeRow]): Each episode and class of the last test, on the main process.

    Args:
        ignore_index (int): Target label that counts nowhere.
        size (str): ``'network'`` compares ``pred_sem_seg`` with ``gt_sem_seg`` at network size (the official way);
            ``'original'`` resizes ``seg_logits`` (bilinear, align_corners=True) to ``gt_sem_seg_ori`` and compares
            there.
        num_replicates (int): Bootstrap replicates; 0 leaves the intervals out.
        seed (int): Seed of the bootstrap.
        **kwargs: Arguments of :class:`mmengine.evaluator.BaseMetric`.

    Example:
        >>> import torch
        >>> from mmfss.evaluation import EpisodicIoU
        >>> metric = EpisodicIoU(num_replicates=0)
        >>> metric.dataset_meta = dict(classes=('cat', 'dog'), fold_class_ids=[1])  # an EpisodicDataset provides it
        >>> target = torch.tensor([[[0, 1], [1, 1]]])
        >>> prediction = torch.tensor([[[0, 0], [1, 1]]])
        >>> sample = dict(class_ids=[1], gt_sem_seg=dict(data=target), pred_sem_seg=dict(data=prediction))
        >>> metric.process(None, [sample])
        >>> metrics = metric.evaluate(size=1)
        >>> round(metrics['mIoU'], 1), round(metrics['FB-IoU'], 1)
        (66.7, 58.3)
    """

    # Empty rather than None: the keys carry no prefix, and MMEngine does not warn about it.
    default_prefix = ''

    def __init__(self,
                 ignore_index: int = 255,
                 size: Literal['network', 'original'] = 'network',
                 num_replicates: int = 1000,
                 seed: int = 0,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if size not in ('network', 'original'):
            raise ValueError(f"size must be 'network' or 'original', got {size!r}.")
        if num_replicates < 0:
            raise ValueError(f'num_replicates must be 0 or more, got {num_replicates}.')
        self.ignore_index = ignore_index
        self.size = size
        self.num_replicates = num_replicates
        self.seed = seed
        self.episodes: list[EpisodeRow] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count one batch; exactly one entry per episode.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Episodes as dicts with predictions.
        """
        for sample in data_samples:
            pred, target = self._compared(sample)
            counts = episode_counts(pred, target, len(sample['class_ids']), self.ignore_index)
            objects = [int((target == way).sum()) for way in range(1, len(sample['class_ids']) + 1)]
            self.results.append(dict(
                class_ids=[int(class_id) for class_id in sample['class_ids']], **counts, object_pixels=objects,
                index=int(sample.get('episode_index', -1)), query=str(sample.get('query_name', '')),
                supports=sample.get('support_names'), presence=sample.get('presence')))

    def compute_metrics(self, results: list[dict]) -> dict[str, Any]:
        """Sum the counts of all episodes and print the table.

        Args:
            results (list[dict]): Entries of all processes.

        Returns:
            dict: The results named in the class's description.
        """
        class_ids = self._meta('fold_class_ids')
        names = [self._meta('classes')[class_id] for class_id in class_ids]
        self.episodes = episode_rows(results, self._meta('classes'), self.dataset_meta.get('seed', 0))
        table = tabulate_counts(results, class_ids)
        scores = compute_scores(table)
        metrics = {'mIoU': scores.miou, 'FB-IoU': scores.fb_iou, 'episodes': len(results)}
        if self.num_replicates:
            intervals = bootstrap_intervals(table, self.num_replicates, seed=self.seed)
            metrics.update((f'{key}_interval', [round(end, 4) for end in ends]) for key, ends in intervals.items())
        metrics['class_IoU'] = {name: round(float(iou), 4) for name, iou in zip(names, scores.class_iou[:, FOREGROUND])}
        self._report(names, table, scores, metrics)
        return metrics

    def _compared(self, sample: dict) -> tuple[Tensor, Tensor]:
        if self.size == 'network':
            pred = sample['pred_sem_seg']['data'].squeeze(0)
            return pred, sample['gt_sem_seg']['data'].squeeze(0).to(pred.device)
        if 'gt_sem_seg_ori' not in sample:
            raise KeyError("size='original' needs the query's mask at its original size ('gt_sem_seg_ori'), and the "
                           'episode has none: set LoadClassMask(keep_original=True) in the pipeline.')
        logits = sample['seg_logits']['data']
        target = sample['gt_sem_seg_ori']['data'].squeeze(0).to(logits.device)
        logits = F.interpolate(logits[None].float(), target.shape, mode='bilinear', align_corners=True)[0]
        return logits.argmax(0), target

    def _meta(self, key: str) -> Any:
        if self.dataset_meta is None or key not in self.dataset_meta:
            raise KeyError(f"EpisodicIoU needs '{key}' in the metainfo of the dataset (EpisodicDataset provides it).")
        return self.dataset_meta[key]

    def _report(self, names: list[str], table: CountTable, scores: Scores, metrics: dict[str, Any]) -> None:
        logger = MMLogger.get_current_instance()
        absent = [name for name, number in zip(names, table.episodes) if not number]
        if absent:
            logger.warning(f'No episode asks for {", ".join(absent)}: counted as IoU 0 in the mean over {len(names)} '
                           'classes.')
        # Table of the classes
        classes = PrettyTable(['class', 'episodes', 'IoU', 'background IoU'], align='r', float_format='.2')
        classes.align['class'] = 'l'
        for name, number, iou in zip(names, table.episodes, scores.class_iou):
            classes.add_row([name, int(number), float(iou[FOREGROUND]), float(iou[BACKGROUND])])
        logger.info(f'Per class, at {self.size} size:\n{classes.get_string()}')
        # Table of the means
        overall = PrettyTable(['figure', 'per cent', '95 % interval over episodes'], align='r')
        for key in ('mIoU', 'FB-IoU'):
            low_high = metrics.get(f'{key}_interval')
            overall.add_row([key, f'{metrics[key]:.2f}', '{:.2f} to {:.2f}'.format(*low_high) if low_high else '-'])
        logger.info(f'{len(names)} classes, {metrics["episodes"]} episodes, split lists: '
                    f'{self.dataset_meta.get("lists", "not stated")}\n{overall.get_string()}')
