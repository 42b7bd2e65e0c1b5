"""Test loop that explains a classifier by the relevance it segments by."""
import argparse
import inspect
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmfss.explainers.image_maps import IMAGE_MAPS, UNSIGNED
from mmfss.models import UnrolledLRPSegmentor
from mmfss.registry import LOOPS
from mmfss.utils.config_options import ConfigError, find_class
from mmfss.utils.defaults import EPISODES, REGIONS
from mmfss.utils.versions import versions
from mmfss.visualization import draw_attributions, to_rgb
from ..recording_loop import RecordingLoop
from ..run_folder import Arrays, ExplanationFolder, Record
from .relevance_report import write_relevance_report
from .relevance_study import RELEVANCE_METRICS, RelevanceStudy


@LOOPS.register_module()
class RelevanceExplanationLoop(RecordingLoop):
    """Show the relevance map of each class in an image, beside other maps of the same classifier, and score them.

    Everything is kept in ``out_dir``, from which an interrupted run resumes, see :class:`RecordingLoop`.

    ``attributions.npz`` holds the maps of each explainer (N, 1, H, W), float16, and ``prediction``, ``target`` (H, W),
    uint8, with the N explained classes as 1 to N and 255 for void. ``record.json`` holds ``class_ids``, ``cls_logits``
    of all classes, ``counts`` (intersection and union by class), ``confusion`` (true class, predicted class, pixels),
    ``scores`` by metric and explainer, and ``seconds``.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Test images. See :class:`RecordingLoop`.
        evaluator (Evaluator | dict | list): Not used.
        explainers (Sequence[str]): Names of :data:`mmfss.explainers.image_maps.IMAGE_MAPS`.
        metrics (Sequence[str]): ``'relevance_mass'``, ``'rank_accuracy'``, ``'deletion_mean'``, ``'deletion_blur'``,
            ``'insertion_mean'``, ``'insertion_blur'``.
        region (str): Classes of the ``'prediction'``, of the ``'ground_truth'``, or ``'all'``.
        step (float): Share of the pixels in a step of deletion and insertion, above 0 to 1.
        num_images (int, optional): How many images, drawn by ``seed``. All by default.
        out_dir (str, optional): The folder; ``<work_dir>/explanations`` by default.
        panels (int): Number of images to draw, the first ones.
        overwrite (bool): Start again, also over a run with other settings.
        seed (int): Seed of the choice of images and of the control.

    Raises:
        ConfigError: If an argument is wrong, or ``out_dir`` holds a run with other settings.
        OSError: If ``out_dir`` cannot be written to.
    """

    subject = 'classifiers that segment by their relevance (UnrolledLRPSegmentor)'

    @classmethod
    def explains(cls, cfg: Config) -> bool:
        kind = find_class((cfg.get('model') or {}).get('type'))
        return inspect.isclass(kind) and issubclass(kind, UnrolledLRPSegmentor)

    @classmethod
    def configure(cls, cfg: Config, options: argparse.Namespace) -> None:
        for name in ('shots', 'ways', 'explainer_options', 'sources', 'failures', 'arrays',
                     'batch_size'):
            if getattr(options, name, None):
                raise ConfigError(f'--{name.replace("_", "-")} is not for classifiers that segment by their relevance, '
                                  f'as "{options.config}".')
        explains = cls.is_configured(cfg)
        arguments: dict[str, Any] = {}
        if options.explainer:
            arguments['explainers'] = options.explainer
        if options.episodes is not None or not explains:
            arguments['num_images'] = EPISODES if options.episodes is None else options.episodes
        cls.set_loop(cfg, options, ('metrics', 'region', 'panels', 'seed'), **arguments)
        cfg.test_evaluator = []

    def __init__(self,
                 runner: Runner,
                 dataloader: Union[DataLoader, dict[str, Any]],
                 evaluator: Union[Evaluator, dict[str, Any], list],
                 explainers: Sequence[str] = tuple(IMAGE_MAPS),
                 metrics: Sequence[str] = tuple(RELEVANCE_METRICS),
                 region: str = 'prediction',
                 step: float = 0.02,
                 num_images: Optional[int] = None,
                 out_dir: Optional[str] = None,
                 panels: int = 16,
                 overwrite: bool = False,
                 seed: int = 0) -> None:
        for option, names, known in (('explainer', explainers, IMAGE_MAPS), ('metrics', metrics, RELEVANCE_METRICS)):
            unknown = [name for name in names if name not in known]
            if unknown or not names:
                raise ConfigError(f'--{option} {" ".join(unknown or ["..."])}: for classifiers that segment by their '
                                  f'relevance there are {", ".join(known)}.')
        if region not in REGIONS:
            raise ConfigError(f'test_cfg.region must be one of {", ".join(REGIONS)}, got {region!r}.')
        if not 0 < step <= 1 or seed < 0 or (num_images is not None and num_images < 1):
            raise ConfigError('test_cfg.step must be above 0 to 1, seed 0 or more and num_images 1 or more; got '
                              f'{step}, {seed} and {num_images}.')
        folder = ExplanationFolder(out_dir or Path(runner.work_dir) / 'explanations', 'images', 'attributions.npz')
        folder.check_writable()
        settings = dict(explainers=list(explainers), attribution_metrics=list(metrics), region=region, step=step,
                        seed=seed)
        super().__init__(runner, dataloader, evaluator, folder, settings, panels, overwrite)
        self.num_images = num_images

    def items(self) -> list[int]:
        order = np.random.default_rng(self.settings['seed']).permutation(len(self.dataloader.dataset)).tolist()
        return order[:self.num_images]

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        names = (getattr(self.dataloader.dataset, 'metainfo', None) or {}).get('classes')
        return list(names or map(str, range(self.model.num_classes)))

    def run(self) -> dict[str, Any]:
        if len(self.classes) != self.model.num_classes:
            raise ConfigError(f'The test data have {len(self.classes)} classes, model.cls_head has '
                              f'{self.model.num_classes}.')
        self.study = RelevanceStudy(self.classes, self.settings['explainers'], self.settings['attribution_metrics'],
                                    self.settings['region'], self.settings['step'], self.settings['seed'])
        return super().run()

    def record(self, data_batch: dict[str, Any], index: int) -> list[Any]:
        data = self.model.data_preprocessor(data_batch, False)
        sample, = data['data_samples']
        picture = to_rgb(data_batch['inputs'][0])
        record, arrays = self.study(self.model, index, data['inputs'], sample, picture)
        panels = {}
        if index in self.drawn and not record['empty']:
            panels['panel.png'] = self._draw(picture, record, arrays)
        self.folder.write(record, arrays, panels)
        return [sample]

    def _draw(self, picture: np.ndarray, record: Record, arrays: Arrays) -> np.ndarray:
        maps = {name: arrays[name].astype(np.float32) for name in self.settings['explainers']}
        return draw_attributions(
            picture, arrays['prediction'], arrays['region'].astype(bool), arrays['supports'], arrays['support_masks'],
            maps, record['info']['class_names'], target=arrays.get('target'),
            neutral={name: levels for name, levels in record['neutral'].items() if name not in UNSIGNED},
            query_caption='prediction' if record['iou'] is None else f'prediction: IoU {100 * record["iou"]:.1f}')

    def report(self, items: Sequence[int], figures: dict[str, Any], seconds: float) -> dict[str, Any]:
        cfg, head = self.runner.cfg, self.model.decode_head
        exact = getattr(head, 'exact', True)
        description = dict(
            config=cfg.filename,
            checkpoint=cfg.get('load_from'),
            dataset=type(self.dataloader.dataset).__name__,
            num_images=len(items),
            region=self.settings['region'],
            step=self.settings['step'],
            decoder='layer-wise relevance propagation' if exact else 'gradient x input (not LRP for this network)',
            device=self.device_name(),
            run_seconds=seconds,
            versions=versions())
        return write_relevance_report(self.folder, description, items, self.settings['explainers'],
                                      self.settings['attribution_metrics'], self.classes)
