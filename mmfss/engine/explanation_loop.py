"""The loop that explains episodes and compares the explanations."""
import sys
import time
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.dist import all_gather_object, barrier, broadcast_object_list, get_dist_info, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, TestLoop
from mmengine.structures import PixelData
from mmengine.utils import ProgressBar
from torch import Tensor
from torch.utils.data import DataLoader

from mmfss.explainers import REGIONS
from mmfss.models import FewShotSegmentor
from mmfss.registry import LOOPS
from mmfss.structures import Episode
from mmfss.visualization import draw_attributions
from .config_options import ConfigError
from .explanation_episode import Arrays, EpisodeStudy, Record
from .explanation_records import ExplanationFolder
from .explanation_report import write_report
from .explanation_setup import (
    RESERVED_NAMES,
    ExplainerConfigs,
    build_explainers,
    check_metrics,
    explainer_configs,
    run_settings,
)
from .runner_setup import versions


@LOOPS.register_module()
class ExplanationLoop(TestLoop):
    """Explain every episode of the test data with every explainer, measure, draw, and compare.

    A runner's test loop: ``test_cfg=dict(type='ExplanationLoop', explainers=['signed_affex', 'random'])`` with
    attribution metrics as ``test_evaluator``; ``runner.test()`` runs it.

    Everything is kept in ``out_dir`` (see :class:`ExplanationFolder`). Interrupted, the same command goes on with the
    next episode; with more episodes it goes on where it ended. A record depends on the settings and on its episode
    alone, so that the table is the same for any number of processes, which share the folder. A folder with other
    settings is refused.

    ``attributions.npz`` holds, with N ways, K shots, supports of (H, W) and a query of (h, w) pixels, one array
    (N, K, H, W) per explainer, under its name; ``region`` (N, h, w), what was explained of each class; ``prediction``
    and ``target`` (h, w), labels 0..N, 255 ignored; ``support_masks`` (N, K, H, W), 0 or 1. All but the attributions
    are uint8.

    ``record.json`` holds ``index``; ``info`` (names and paths of classes, query and supports); ``empty``, and then the
    ``reason``; ``iou``, the foreground IoU of the episode; ``scores`` as ``{metric: {explainer: {value, curve}}}``;
    ``seconds`` of each explanation and ``prediction_seconds``; ``contributions`` of explainers that say which layer and
    which support carried the prediction; ``neutral`` of those with signed maps, the value of each class that means no
    contribution; ``files``. An episode that cannot be explained, because the model predicts nothing of a class or a
    support mask is empty at network size, is recorded as empty and counted in the table.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The test data. Its sampler and batch size are not used: each process explains
            its share of the episodes that are not done, one at a time.
        evaluator (Evaluator | dict | list): Attribution metrics.
        explainers (Sequence[str] | dict): Names, or configs by name, see :func:`explainer_configs`.
        region (str): What is explained: ``'prediction'``, ``'ground_truth'`` or ``'all'``.
        out_dir (str, optional): The folder; ``<work_dir>/explanations`` by default.
        panels (int): Number of episodes to draw, the first ones.
        overwrite (bool): Start again, also over a run with other settings.
        seed (int): Seed of explainers and metrics that draw random numbers; each episode has its own.
        dtype (str): Of stored attributions, ``'float16'`` or ``'float32'``.
        batch_size (int): Perturbed support images that a metric encodes at a time, at least those of one state.

    Raises:
        ConfigError: If an argument is wrong, or ``out_dir`` holds a run with other settings.
        OSError: If ``out_dir`` cannot be written to.
    """

    def __init__(self,
                 runner: Runner,
                 dataloader: Union[DataLoader, dict[str, Any]],
                 evaluator: Union[Evaluator, dict[str, Any], list],
                 explainers: ExplainerConfigs,
                 region: str = 'prediction',
                 out_dir: Optional[str] = None,
                 panels: int = 16,
                 overwrite: bool = False,
                 seed: int = 0,
                 dtype: str = 'float16',
                 batch_size: int = 8) -> None:
        if region not in REGIONS:
            raise ConfigError(f'test_cfg.region must be one of {", ".join(REGIONS)}, got {region!r}.')
        if dtype not in ('float16', 'float32'):
            raise ConfigError(f"test_cfg.dtype must be 'float16' or 'float32', got {dtype!r}.")
        self.folder = ExplanationFolder(out_dir or Path(runner.work_dir) / 'explanations')
        self.folder.check_writable()
        configs = explainer_configs(explainers)
        built = build_explainers(configs)
        super().__init__(runner, dataloader, evaluator)
        check_metrics(self.evaluator.metrics)
        self.study = EpisodeStudy(built, self.evaluator.metrics, region, seed, dtype, batch_size)
        self.settings = dict(explainers=configs, region=region, seed=seed, dtype=dtype)
        self.panels, self.overwrite = panels, overwrite
        self.results: Optional[dict[str, Any]] = None

    @property
    def model(self) -> FewShotSegmentor:
        """The model, without the wrapper of data-parallel training."""
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model

    def run(self) -> dict[str, Any]:
        """Explain what is not done, and report on all.

        Returns:
            dict: What the metrics return; the whole report is in ``results``, in the main process.
        """
        start = time.perf_counter()
        self.model.eval()
        num_episodes = len(self.dataloader.dataset)
        pending = self._begin(num_episodes)
        self.dataloader = self._loader_of(pending)
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        progress = _Progress(self.runner, num_episodes - len(pending), num_episodes)
        for iteration, (index, data_batch) in enumerate(zip(self.dataloader.sampler, self.dataloader)):
            self.run_iter(iteration, data_batch, index)
            progress.update()
        barrier()
        metrics = self._evaluate(num_episodes)
        self.runner.call_hook('after_test_epoch', metrics=metrics)
        self.runner.call_hook('after_test')
        if is_main_process():
            self.results = write_report(self.folder, self._description(num_episodes, time.perf_counter() - start),
                                        self.evaluator.metrics, metrics)
        barrier()
        return metrics

    def run_iter(self, idx: int, data_batch: dict[str, Any], index: int) -> None:
        """Explain one episode and write its files.

        Args:
            idx (int): Number of the iteration in this process.
            data_batch (dict): A batch of one episode.
            index (int): Index of the episode.
        """
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        batch = self.model.data_preprocessor(data_batch, False)
        episode, = Episode.from_batch(batch)
        record, arrays = self.study(self.model, index, episode)
        panel = None
        if index < self.panels and not record['empty']:
            panel = self._draw(data_batch['inputs'], record, arrays)
        self.folder.write(record, arrays, panel)
        sample, = batch['data_samples']
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(arrays['prediction'][None]).long())
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=[sample])

    def _begin(self, num_episodes: int) -> list[int]:
        """Prepare the folder; returns the episodes that are not done, the same in all processes."""
        settings = run_settings(self.runner.cfg, self.model, **self.settings)
        answer: list[Any] = [None, None]
        if is_main_process():
            try:
                self.folder.begin(settings, self.overwrite, versions=versions())
                answer[1] = [index for index in range(num_episodes)
                             if not self.folder.is_done(index, panel=index < self.panels)]
            except (ConfigError, OSError) as error:
                answer[0] = error
        # No process may write a record before the others know what is left.
        broadcast_object_list(answer)
        error, pending = answer
        if error is not None:
            raise error
        return pending

    def _loader_of(self, indices: Sequence[int]) -> DataLoader:
        """The test data, restricted to this process's share of some episodes."""
        rank, world_size = get_dist_info()
        loader = self.dataloader
        return DataLoader(
            loader.dataset,
            batch_size=1,
            sampler=list(indices)[rank::world_size],
            # A worker that has nothing to do would only cost its start.
            num_workers=min(loader.num_workers, len(indices)),
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
            pin_memory=loader.pin_memory)

    def _evaluate(self, num_episodes: int) -> dict[str, Any]:
        """Results of the metrics, from the records of this and of interrupted runs."""
        rank, world_size = get_dist_info()
        records = (self.folder.read(index) for index in range(rank, num_episodes, world_size))
        explained = [record for record in records if not record['empty']]
        if not any(all_gather_object(len(explained))):
            return {}
        self.evaluator.process(explained)
        return self.evaluator.evaluate(num_episodes)

    def _description(self, num_episodes: int, seconds: float) -> dict[str, Any]:
        """What a reader of the results must know."""
        device = next(self.model.parameters()).device
        return dict(
            config=self.runner.cfg.filename,
            checkpoint=self.runner.cfg.get('load_from'),
            episodes=dict(getattr(self.dataloader.dataset, 'metainfo', None) or {}),
            num_episodes=num_episodes,
            explainers=self.settings['explainers'],
            region=self.settings['region'],
            device=torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type,
            processes=self.runner.world_size,
            run_seconds=round(seconds, 1),
            versions=versions())

    @staticmethod
    def _draw(inputs: dict[str, Any], record: Record, arrays: Arrays) -> np.ndarray:
        return draw_attributions(
            _to_rgb(inputs['query'][0]),
            arrays['prediction'],
            arrays['region'].astype(bool),
            [[_to_rgb(image) for image in shots] for shots in inputs['support'][0]],
            arrays['support_masks'],
            {name: array.astype(np.float32) for name, array in arrays.items() if name not in RESERVED_NAMES},
            record['info']['class_names'],
            target=arrays.get('target'),
            neutral=record['neutral'],
            query_caption='prediction' if record['iou'] is None else f'prediction: IoU {100 * record["iou"]:.1f}')


class _Progress:
    """A bar on a terminal, else a line in the log every half minute; on the main process."""

    def __init__(self, runner: Runner, done: int, total: int, interval: float = 30) -> None:
        self.runner, self.done, self.total, self.interval = runner, done, total, interval
        self.step = get_dist_info()[1]
        self.last = time.monotonic()
        if done:
            runner.logger.info(f'{done} of {total} episodes are explained already.')
        self.bar = None
        if is_main_process() and sys.stderr.isatty() and done < total:
            self.bar = ProgressBar(total, bar_width=30, file=sys.stderr)
            self.bar.completed = done

    def update(self) -> None:
        """This process has explained an episode; the others are taken to be as fast."""
        step = min(self.step, self.total - self.done)
        self.done += step
        if self.bar is not None:
            self.bar.update(step)
        elif time.monotonic() - self.last >= self.interval:
            self.last = time.monotonic()
            self.runner.logger.info(f'{self.done} of {self.total} episodes explained.')


def _to_rgb(image: Tensor) -> np.ndarray:
    """(3, H, W) BGR tensor, 0 to 255, to (H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(image.cpu().numpy()[::-1].transpose(1, 2, 0)).astype(np.uint8)
