"""Pictures of the episodes seen in validation and test."""
import re
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image
from torch import Tensor

from mmfss.evaluation.functional import episode_counts
from mmfss.registry import HOOKS
from mmfss.structures import EpisodeDataSample
from mmfss.utils.files import atomic_path
from mmfss.utils.names import file_name
from mmfss.visualization import draw_episode, to_rgb


@HOOKS.register_module()
class EpisodeVisualizationHook(Hook):
    """Write one PNG panel per drawn episode: supports with masks, query with ground truth and prediction.

    Which episodes are drawn depends on their index alone, so any number of processes and any batch size draw the same
    pictures. The caption gives the foreground IoU of the single episode, which is not the metric (that sums over
    episodes first). Validation draws into a folder per iteration, ``<out_dir>/val_<iteration>``.

    Args:
        out_dir (str, optional): Folder for the pictures; ``<work_dir>/episodes`` if not given.
        max_episodes (int): Number of episodes to draw in one run; 0 draws none.
        interval (int): Draw every ``interval``-th episode.
        draw_val (bool): Also draw during validation.
    """

    priority = 'NORMAL'

    def __init__(self,
                 out_dir: Optional[str] = None,
                 max_episodes: int = 20,
                 interval: int = 1,
                 draw_val: bool = False) -> None:
        if max_episodes < 0:
            raise ValueError(f'max_episodes must be 0 or more, got {max_episodes}.')
        if interval < 1:
            raise ValueError(f'interval must be 1 or more, got {interval}.')
        self.out_dir = out_dir
        self.max_episodes = max_episodes
        self.interval = interval
        self.draw_val = draw_val

    def after_test_iter(self,
                        runner: Runner,
                        batch_idx: int,
                        data_batch: Optional[dict] = None,
                        outputs: Optional[Sequence[EpisodeDataSample]] = None) -> None:
        """Draw the batch's share of the pictures."""
        self._draw_batch(self._root(runner), data_batch, outputs)

    def after_val_iter(self,
                       runner: Runner,
                       batch_idx: int,
                       data_batch: Optional[dict] = None,
                       outputs: Optional[Sequence[EpisodeDataSample]] = None) -> None:
        """Draw the batch's share of the pictures, if validation is drawn."""
        if self.draw_val:
            self._draw_batch(self._root(runner) / f'val_{runner.iter}', data_batch, outputs)

    def _root(self, runner: Runner) -> Path:
        return Path(self.out_dir) if self.out_dir else Path(runner.work_dir) / 'episodes'

    def _draw_batch(self, folder: Path, data_batch: dict[str, Any], outputs: Sequence[EpisodeDataSample]) -> None:
        inputs = data_batch['inputs']
        for query, support, sample in zip(inputs['query'], inputs['support'], outputs):
            index = sample.episode_index
            if index % self.interval or index // self.interval >= self.max_episodes:
                continue
            panel = self._draw(query, support, sample)
            names = '_'.join([*sample.class_names, Path(str(sample.query_name)).stem])
            name = file_name(f'{index:05d}_{re.sub(r"[^0-9A-Za-z.-]+", "-", names)}', '.png')
            with atomic_path(folder / name) as path:
                Image.fromarray(panel).save(path)

    @staticmethod
    def _draw(query: Tensor, support: Tensor, sample: EpisodeDataSample) -> np.ndarray:
        pred, target = sample.pred_sem_seg.data[0].cpu(), sample.gt_sem_seg.data[0].cpu()
        intersection, union = episode_counts(pred, target, len(sample.class_ids))['foreground']
        return draw_episode(
            to_rgb(query),
            pred.numpy(), [[to_rgb(image) for image in images] for images in support],
            sample.support_sem_seg.cpu().numpy(),
            sample.class_names,
            target=target.numpy(),
            query_caption=f'prediction: IoU {100 * intersection / max(union, 1):.1f}')
