"""Test loop that decomposes the predictions of a prototype model."""
import argparse
import inspect
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmengine.structures import PixelData
from torch.utils.data import DataLoader

from mmfss.datasets.orientation import loads_upright
from mmfss.models import PrototypeHead
from mmfss.prototypes.embedding import prototype_head
from mmfss.prototypes.sources import find_sources, source_places
from mmfss.registry import LOOPS
from mmfss.utils.config_options import ConfigError, find_class
from mmfss.utils.defaults import EPISODES, REGIONS
from mmfss.utils.versions import versions
from mmfss.visualization import to_rgb
from ..recording_loop import RecordingLoop
from ..run_folder import ExplanationFolder
from .panels import draw_image
from .report import write_prototype_report
from .study import ImageStudy


@LOOPS.register_module()
class PrototypeExplanationLoop(RecordingLoop):
    """Decompose the mean logit of every class in an image into groups, prototypes and their source patches.

    For models whose ``decode_head`` is a :class:`PrototypeHead`: of stage 2, or of stage 1, which has prototypes and no
    groups. Everything is kept in ``out_dir``, from which an interrupted run resumes, see :class:`RecordingLoop`.

    ``maps.npz`` holds, with an image of (H, W) pixels and a feature grid (h, w), ``prediction`` and ``target`` (H, W),
    int16, -1 for void; ``maps`` (n, h, w), float16, similarities a of prototypes and log g of groups; ``choices``
    (m, h, w), uint16. ``record.json`` holds ``index``, ``info``, ``seconds``, ``iou`` (mean over the classes in the
    image), ``counts`` (intersection and union by class), ``classes`` and ``failures``. An entry of ``classes`` is a
    decomposition of the class's mean logit, see :mod:`mmfss.visualization.decomposition`, with ``class_id`` and
    ``iou``; its terms are the other classes. An entry of ``failures`` is a class whose IoU is low: the ``truth`` and
    the ``predicted`` class of most of its wrong pixels, and both ``explained`` over these very pixels.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Test images. See :class:`RecordingLoop`.
        evaluator (Evaluator | dict | list): Not used.
        sources (str | Sequence[str], optional): The ``prototypes.json`` of the push, or places to look for it; by
            default those of :func:`source_places`. A model that was never pushed needs none.
        region (str): What is explained of a class: ``'prediction'``, ``'ground_truth'`` or ``'all'``.
        failures (float): A class of lower IoU in an image is a failure, 0 to 1.
        top (int): Prototypes of a group that are shown with their maps; in stage 1, of a class, three times as many.
        num_images (int, optional): How many images, drawn by ``seed``; with more of them, the first ones stay. All by
            default.
        out_dir (str, optional): The folder; ``<work_dir>/explanations`` by default.
        panels (int): Number of images to draw, the first ones.
        overwrite (bool): Start again, also over a run with other settings.
        seed (int): Seed of the choice of images.

    Raises:
        ConfigError: If an argument is wrong, or ``out_dir`` holds a run with other settings.
        OSError: If ``out_dir`` cannot be written to.
    """

    subject = 'models with prototypes (decode_head: ScaleProtoHead or ScaleProtoGroupHead)'

    @classmethod
    def explains(cls, cfg: Config) -> bool:
        head = find_class(((cfg.get('model') or {}).get('decode_head') or {}).get('type'))
        return inspect.isclass(head) and issubclass(head, PrototypeHead)

    @classmethod
    def configure(cls, cfg: Config, options: argparse.Namespace) -> None:
        asked = options.explainer or ['prototypes']
        if asked != ['prototypes']:
            raise ConfigError(f'--explainer {" ".join(asked)}: "{options.config}" is a model with learned prototypes, '
                              'which has no supports to attribute to. What works is --explainer prototypes.')
        for name in ('metrics', 'shots', 'ways', 'explainer_options', 'arrays', 'batch_size'):
            if getattr(options, name, None):
                raise ConfigError(f'--{name.replace("_", "-")} is for few-shot models; "{options.config}" is one with '
                                  'learned prototypes.')
        if options.checkpoint is None:
            raise ConfigError(f'"{options.config}" is a model with learned prototypes: name its checkpoint after the '
                              'config.')
        # Options that the config or the command leaves open
        explains = cls.is_configured(cfg)
        arguments: dict[str, Any] = {}
        if not options.sources and not (explains and cfg.test_cfg.get('sources')):
            arguments['sources'] = source_places(options.checkpoint, cfg.get('load_from'))
        if options.episodes is not None or not explains:
            arguments['num_images'] = EPISODES if options.episodes is None else options.episodes
        cls.set_loop(cfg, options, ('region', 'panels', 'seed', 'sources', 'failures'), **arguments)
        cfg.test_evaluator = []

    def __init__(self,
                 runner: Runner,
                 dataloader: Union[DataLoader, dict[str, Any]],
                 evaluator: Union[Evaluator, dict[str, Any], list],
                 sources: Union[str, Sequence[str], None] = None,
                 region: str = 'prediction',
                 failures: float = 0.5,
                 top: int = 4,
                 num_images: Optional[int] = None,
                 out_dir: Optional[str] = None,
                 panels: int = 16,
                 overwrite: bool = False,
                 seed: int = 0) -> None:
        if region not in REGIONS:
            raise ConfigError(f'test_cfg.region must be one of {", ".join(REGIONS)}, got {region!r}.')
        if not 0 <= failures <= 1:
            raise ConfigError(f'--failures (test_cfg.failures) is an IoU from 0 to 1, got {failures}.')
        if seed < 0:
            raise ConfigError(f'--seed (test_cfg.seed) must be 0 or more, got {seed}.')
        if top < 1 or (num_images is not None and num_images < 1):
            raise ConfigError(f'top and num_images must be 1 or more, got {top} and {num_images}.')
        # Folder of the results, sources of the prototypes
        folder = ExplanationFolder(out_dir or Path(runner.work_dir) / 'explanations', 'images', 'maps.npz')
        folder.check_writable()
        settings = dict(explainers=dict(prototypes=dict(type='prototypes', top=top)), region=region, failures=failures,
                        seed=seed)
        super().__init__(runner, dataloader, evaluator, folder, settings, panels, overwrite)
        sources = sources or source_places(runner.cfg.get('load_from'))
        self.places = [sources] if isinstance(sources, str) else list(sources)
        self.num_images = num_images

    def items(self) -> list[int]:
        total = len(self.dataloader.dataset)
        order = np.random.default_rng(self.settings['seed']).permutation(total).tolist()
        return order[:self.num_images]

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        names = (getattr(self.dataloader.dataset, 'metainfo', None) or {}).get('classes')
        return list(names or map(str, range(prototype_head(self.model).num_classes)))

    def run(self) -> dict[str, Any]:
        try:
            head = prototype_head(self.model)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if len(self.classes) != head.num_classes:
            raise ConfigError(f'The test data have {len(self.classes)} classes, model.decode_head {head.num_classes}.')
        self.sources = find_sources(head, self.places)
        self.study = ImageStudy(self.classes, self.settings['region'], self.settings['failures'],
                                self.settings['explainers']['prototypes']['top'], self.sources)
        return super().run()

    def record(self, data_batch: dict[str, Any], index: int) -> list[Any]:
        data = self.model.data_preprocessor(data_batch, False)
        sample, = data['data_samples']
        record, arrays = self.study(self.model, index, data['inputs'], sample)
        picture = to_rgb(data_batch['inputs'][0])
        record['info']['upright'] = loads_upright(self.dataloader.dataset)
        # A page needs the picture where there is no file of it
        path = record['info']['img_path']
        if path is None or not Path(path).is_file():
            arrays['image'] = picture
        panels = {}
        if index in self.drawn and not record['empty']:
            panels = draw_image(picture, record, arrays, self.settings['region'], self.classes, self.sources)
        self.folder.write(record, arrays, panels)
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(arrays['prediction'][None]).long())
        return [sample]

    def report(self, items: Sequence[int], figures: dict[str, Any], seconds: float) -> dict[str, Any]:
        cfg = self.runner.cfg
        description = dict(
            config=cfg.filename,
            checkpoint=cfg.get('load_from'),
            sources=None if self.sources is None else str(self.sources.path),
            dataset=type(self.dataloader.dataset).__name__,
            num_images=len(items),
            region=self.settings['region'],
            failure_threshold=self.settings['failures'],
            device=self.device_name(),
            run_seconds=seconds,
            versions=versions())
        return write_prototype_report(self.folder, description, items, prototype_head(self.model), self.classes,
                                      self.sources)


