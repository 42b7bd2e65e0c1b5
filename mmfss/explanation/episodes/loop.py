"""Test loop that explains episodes and compares the explanations."""
import argparse
import inspect
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from torch.utils.data import DataLoader

from mmfss.evaluation.attribution import AttributionMetric
from mmfss.evaluation.attribution.presets import metric_configs
from mmfss.explainers.building import (
    RESERVED_NAMES,
    ExplainerConfigs,
    build_explainers,
    explainer_configs,
    set_explainer_options,
)
from mmfss.models import BaseFewShotSegmentor
from mmfss.registry import LOOPS
from mmfss.structures import Episode
from mmfss.utils.config import set_episodes
from mmfss.utils.config_options import ConfigError, find_class
from mmfss.utils.defaults import EPISODES, EXPLAINERS, METRICS, REGIONS
from mmfss.utils.versions import versions
from mmfss.visualization import draw_attributions, to_rgb
from ..recording_loop import RecordingLoop
from ..run_folder import Arrays, ExplanationFolder, Record
from .panels import draw_episode_prototypes
from .prototypes import describe_episode, reading_explainer
from .report import write_report
from .study import EpisodeStudy


@LOOPS.register_module()
class ExplanationLoop(RecordingLoop):
    """Explain every episode of the test data with every explainer; measure, draw and compare the maps.

    A runner's test loop: ``test_cfg=dict(type='ExplanationLoop', explainers=['signed_affex', 'random'])`` with
    attribution metrics as ``test_evaluator``; ``runner.test()`` runs it.

    Everything is kept in ``out_dir``, from which an interrupted run resumes, see :class:`RecordingLoop`.

    ``attributions.npz`` holds, with N ways, K shots, supports of (H, W) and a query of (h, w) pixels, one array
    (N, K, H, W) per explainer, under its name; ``region`` (N, h, w), what was explained of each class; ``prediction``
    and ``target`` (h, w), labels 0..N, 255 ignored; ``support_masks`` (N, K, H, W), 0 or 1. All but the attributions
    are uint8. Of drawn episodes, where the explainer ``prototypes`` runs, also what its prototypes said, see
    :func:`describe_episode`, the parts being in the record's ``prototypes``.

    ``record.json`` holds ``index``; ``info`` (names and paths of classes, query and supports); ``empty``, and then the
    ``reason``; ``iou``, the foreground IoU of the episode; ``scores`` as ``{metric: {explainer: {value, curve}}}``;
    ``seconds`` of each explanation and ``prediction_seconds``; ``contributions`` of explainers that say which layer and
    which support carried the prediction; ``neutral`` of those with signed maps, the value of each class that means no
    contribution; ``forms`` of those that explained a differentiable form of the model; ``files``. An episode that
    cannot be explained, because the model predicts nothing of a class or a support mask is empty at network size, is
    recorded as empty and counted in the table.

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
        arrays (int, optional): Number of episodes whose ``attributions.npz`` is written, the first ones; all by
            default. The other episodes have their records, and count in table and curves: a thousand episodes of twelve
            explainers and five supports at 384 x 384 pixels take 7.6 GB of arrays.

    Raises:
        ConfigError: If an argument is wrong, or ``out_dir`` holds a run with other settings.
        OSError: If ``out_dir`` cannot be written to.
    """

    subject = 'few-shot models (FewShotSegmentor)'
    result_files = 'results.json, results.csv'

    @classmethod
    def explains(cls, cfg: Config) -> bool:
        kind = find_class((cfg.get('model') or {}).get('type'))
        # Assume that an unknown model class is a few-shot one: building it gives the better error.
        return not (inspect.isclass(kind) and issubclass(kind, BaseSegmentor)) or issubclass(kind, BaseFewShotSegmentor)

    @classmethod
    def configure(cls, cfg: Config, options: argparse.Namespace) -> None:
        for name in ('sources', 'failures'):
            if getattr(options, name) is not None:
                raise ConfigError(f'--{name} is for models with learned prototypes; "{options.config}" is a few-shot '
                                  'model.')
        explains = cls.is_configured(cfg)
        # An explainer that is selected by name keeps its options of the config.
        configured = explainer_configs(cfg.test_cfg.explainers if explains else EXPLAINERS)
        explainers = explainer_configs({name: configured.get(name) for name in options.explainer or configured})
        set_explainer_options(explainers, options.explainer_options)
        if options.metrics or not explains:
            cfg.test_evaluator = metric_configs(options.metrics or METRICS)
        cls.set_loop(cfg, options, ('region', 'panels', 'arrays', 'seed', 'batch_size'), explainers=explainers)
        episodes = EPISODES if options.episodes is None and not explains else options.episodes
        set_episodes(cfg, num_shots=options.shots, num_ways=options.ways, num_episodes=episodes, seed=options.seed)

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
                 batch_size: int = 8,
                 arrays: Optional[int] = None) -> None:
        if region not in REGIONS:
            raise ConfigError(f'test_cfg.region must be one of {", ".join(REGIONS)}, got {region!r}.')
        if dtype not in ('float16', 'float32'):
            raise ConfigError(f"test_cfg.dtype must be 'float16' or 'float32', got {dtype!r}.")
        if batch_size < 1:
            raise ConfigError(f'--batch-size (test_cfg.batch_size) must be at least 1, got {batch_size}.')
        folder = ExplanationFolder(out_dir or Path(runner.work_dir) / 'explanations')
        folder.check_writable()
        configs = explainer_configs(explainers)
        built = build_explainers(configs)
        settings = dict(explainers=configs, region=region, seed=seed, dtype=dtype)
        super().__init__(runner, dataloader, evaluator, folder, settings, panels, overwrite, arrays)
        check_metrics(self.evaluator.metrics)
        self.study = EpisodeStudy(built, self.evaluator.metrics, region, seed, dtype, batch_size)

    def record(self, data_batch: dict[str, Any], index: int) -> list[Any]:
        """Explain one episode and write its files.

        Args:
            data_batch (dict): A batch of one episode.
            index (int): Index of the episode.

        Returns:
            list[EpisodeDataSample]: Its sample, with the prediction.
        """
        batch = self.model.data_preprocessor(data_batch, False)
        episode, = Episode.from_batch(batch)
        record, arrays = self.study(self.model, index, episode)
        panels = {}
        if index in self.drawn and not record['empty']:
            panels = self._draw_all(data_batch['inputs'], episode, record, arrays)
        self.folder.write(record, arrays if index in self.stored else None, panels)
        sample, = batch['data_samples']
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(arrays['prediction'][None]).long())
        return [sample]

    def evaluate(self, items: Sequence[int]) -> dict[str, Any]:
        """Compute the results of the metrics from the records of this and of interrupted runs."""
        rank, world_size = get_dist_info()
        records = (self.folder.read(index) for index in items[rank::world_size])
        explained = [record for record in records if not record['empty']]
        if not any(all_gather_object(len(explained))):
            return {}
        self.evaluator.process(explained)
        return self.evaluator.evaluate(len(items))

    def report(self, items: Sequence[int], figures: dict[str, Any], seconds: float) -> dict[str, Any]:
        description = dict(
            config=self.runner.cfg.filename,
            checkpoint=self.runner.cfg.get('load_from'),
            episodes=dict(getattr(self.dataloader.dataset, 'metainfo', None) or {}),
            num_episodes=len(items),
            explainers=self.settings['explainers'],
            region=self.settings['region'],
            device=self.device_name(),
            processes=self.runner.world_size,
            run_seconds=seconds,
            versions=versions())
        return write_report(self.folder, description, self.evaluator.metrics, figures)

    def _draw_all(self, inputs: dict[str, Any], episode: Episode, record: Record,
                  arrays: Arrays) -> dict[str, np.ndarray]:
        """Draw the panels by file name; add the prototype decomposition to record and arrays."""
        panels = {'panel.png': self._draw(inputs, record, arrays)}
        explainer = reading_explainer(self.study.explainers.values())
        if explainer is not None:
            region = torch.from_numpy(arrays['region']).bool().to(episode.query.device)
            record['prototypes'], maps = describe_episode(explainer, self.model, episode, region,
                                                          record['info']['class_names'])
            arrays.update(maps)
            supports = [[to_rgb(image) for image in shots] for shots in inputs['support'][0]]
            panels.update(draw_episode_prototypes(to_rgb(inputs['query'][0]), supports, record, arrays))
        return panels

    @staticmethod
    def _draw(inputs: dict[str, Any], record: Record, arrays: Arrays) -> np.ndarray:
        return draw_attributions(
            to_rgb(inputs['query'][0]),
            arrays['prediction'],
            arrays['region'].astype(bool),
            [[to_rgb(image) for image in shots] for shots in inputs['support'][0]],
            arrays['support_masks'],
            {name: array.astype(np.float32) for name, array in arrays.items() if name not in RESERVED_NAMES},
            record['info']['class_names'],
            target=arrays.get('target'),
            neutral=record['neutral'],
            query_caption='prediction' if record['iou'] is None else f'prediction: IoU {100 * record["iou"]:.1f}')


def check_metrics(metrics: Sequence[BaseMetric]) -> None:
    """Check that metrics measure attributions, each under its own name.

    Args:
        metrics (Sequence[BaseMetric]): The metrics of an evaluator.

    Raises:
        ConfigError: If one does not, or two have one name.
    """
    for metric in metrics:
        if not isinstance(metric, AttributionMetric):
            raise ConfigError(f'test_evaluator: {type(metric).__name__} does not measure attributions, as the metrics '
                              'of mmfss.evaluation.attribution do.')
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f'test_evaluator: two metrics have the name "{name}"; give one a `name` of its own.')
