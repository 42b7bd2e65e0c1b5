"""Base class of test loops that record every item, and resume where they were interrupted."""
import argparse
import time
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Optional, Sequence, Union

import torch
from mmengine.config import Config
from mmengine.dist import barrier, broadcast_object_list, get_dist_info, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, TestLoop
from torch import nn
from torch.utils.data import DataLoader

from mmfss.utils.config_options import ConfigError
from mmfss.utils.device import device_of
from mmfss.utils.progress import Progress
from mmfss.utils.unwrap import unwrap
from mmfss.utils.versions import versions
from .run_folder import ExplanationFolder
from .run_settings import run_settings


class RecordingLoop(TestLoop):
    """Study the items of the test data one by one, keep a record of each, and report on all.

    Everything is kept in a folder (see :class:`ExplanationFolder`). After an interruption, the same command
    resumes with the next item. With more items it continues where it ended. A record depends on the settings and on its
    item alone, so that the report is the same for any number of processes, which share the folder. A folder with other
    settings is refused.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The test data. Its sampler and batch size are not used: each process takes its
            share of the missing items, one at a time.
        evaluator (Evaluator | dict | list): Metrics, if the subclass uses any.
        folder (ExplanationFolder): The folder.
        settings (dict): Settings that every record depends on, beside model and data.
        panels (int): Number of items to draw, the first ones.
        overwrite (bool): Start again, also over a run with other settings.
        arrays (int, optional): Number of items whose arrays are stored, the first ones; all by default.

    Raises:
        ConfigError: If the number of panels or arrays is negative.
        OSError: If the folder cannot be written to.
    """

    subject: ClassVar[str]
    """Description of the models that this loop explains."""
    result_files: ClassVar[str] = 'results.json'
    """Description of the files beside table and page."""

    @classmethod
    @abstractmethod
    def explains(cls, cfg: Config) -> bool:
        """Check whether this loop explains the model of a config."""

    @classmethod
    @abstractmethod
    def configure(cls, cfg: Config, options: argparse.Namespace) -> None:
        """Turn the test of a config into an explanation run.

        Args:
            cfg (Config): The config, changed in place.
            options (Namespace): The options of ``tools/explain.py``; None where one was not given.

        Raises:
            ConfigError: If an option is not for this kind of model.
        """

    @classmethod
    def is_configured(cls, cfg: Config) -> bool:
        """Check whether the test of a config uses this loop already."""
        return (cfg.get('test_cfg') or {}).get('type') == cls.__name__

    @classmethod
    def set_loop(cls, cfg: Config, options: argparse.Namespace, keys: Sequence[str], **arguments: Any) -> None:
        """Put this loop into ``cfg.test_cfg``.

        Args:
            cfg (Config): The config, changed in place.
            options (Namespace): See :meth:`configure`.
            keys (Sequence[str]): Options that are arguments of the loop; those not given keep the config's value.
            **arguments: Further arguments of the loop.
        """
        loop = dict(cfg.test_cfg) if cls.is_configured(cfg) else dict(type=cls.__name__)
        loop.update({key: getattr(options, key) for key in keys if getattr(options, key) is not None}, **arguments)
        loop.update(overwrite=options.overwrite, out_dir=str(
            options.out or loop.get('out_dir') or Path(cfg.work_dir) / 'explanations'))
        # Replaced, not merged: the config's own loop may be of another type.
        cfg.pop('test_cfg', None)
        cfg.test_cfg = loop

    def __init__(self, runner: Runner, dataloader: Union[DataLoader, dict[str, Any]],
                 evaluator: Union[Evaluator, dict[str, Any], list], folder: ExplanationFolder, settings: dict[str, Any],
                 panels: int, overwrite: bool, arrays: Optional[int] = None) -> None:
        for name, number in (('panels', panels), ('arrays', arrays)):
            if number is not None and number < 0:
                raise ConfigError(f'--{name} (test_cfg.{name}) must be 0 or more, got {number}.')
        super().__init__(runner, dataloader, evaluator)
        self.folder, self.settings = folder, settings
        self.panels, self.overwrite, self.arrays = panels, overwrite, arrays
        self.results: Optional[dict[str, Any]] = None

    @property
    def model(self) -> nn.Module:
        """The model, without the wrapper of data-parallel training."""
        return unwrap(self.runner.model)

    def items(self) -> list[int]:
        """Indices of the test data to record, in this order."""
        return list(range(len(self.dataloader.dataset)))

    def run(self) -> dict[str, Any]:
        """Record the missing items, and report on all.

        Returns:
            dict: The figures; the whole report is in ``results``, in the main process.
        """
        start = time.perf_counter()
        self.model.eval()
        items = self.items()
        self.drawn, self.stored = set(items[:self.panels]), set(items[:self.arrays])
        pending = self._begin(items)
        self.dataloader = self._loader_of(pending)
        self.runner.call_hook('before_test')
        self.runner.call_hook('before_test_epoch')
        progress = self._progress(len(items) - len(pending), len(items))
        for iteration, (index, data_batch) in enumerate(zip(self.dataloader.sampler, self.dataloader)):
            self.run_iter(iteration, data_batch, index)
            if progress is not None:
                # The other processes are taken to be as fast.
                progress.update(get_dist_info()[1])
        barrier()
        figures = self.evaluate(items)
        self.runner.call_hook('after_test_epoch', metrics=figures)
        self.runner.call_hook('after_test')
        if is_main_process():
            self.results = self.report(items, figures, round(time.perf_counter() - start, 1))
        barrier()
        return figures

    def run_iter(self, idx: int, data_batch: dict[str, Any], index: int) -> None:
        """Record one item and write its files.

        Args:
            idx (int): Number of the iteration in this process.
            data_batch (dict): A batch of one item.
            index (int): Its index in the test data.
        """
        self.runner.call_hook('before_test_iter', batch_idx=idx, data_batch=data_batch)
        outputs = self.record(data_batch, index)
        self.runner.call_hook('after_test_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)

    @abstractmethod
    def record(self, data_batch: dict[str, Any], index: int) -> list[Any]:
        """Study one item and write its files; returns the batch's samples with predictions, for hooks."""

    def evaluate(self, items: Sequence[int]) -> dict[str, Any]:
        """Compute figures from the records of this and of interrupted runs, in all processes; by default none."""
        return {}

    @abstractmethod
    def report(self, items: Sequence[int], figures: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Write table and page, in the main process; returns what ``results.json`` holds, with ``markdown``."""

    def _begin(self, items: Sequence[int]) -> list[int]:
        """Prepare the folder; return the missing items, the same in all processes."""
        settings = run_settings(self.runner.cfg, self.model, **self.settings)
        answer: list[Any] = [None, None]
        if is_main_process():
            try:
                self.folder.begin(settings, self.overwrite, versions=versions())
                answer[1] = [index for index in items
                             if not self.folder.is_done(index, index in self.drawn, index in self.stored)]
            except (ConfigError, OSError) as error:
                answer[0] = error
        # No process may write a record before the others know the missing items.
        broadcast_object_list(answer)
        error, pending = answer
        if error is not None:
            raise error
        return pending

    def _loader_of(self, indices: Sequence[int]) -> DataLoader:
        """Build a data loader of this process's share of some items."""
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

    def _progress(self, done: int, total: int) -> Optional[Progress]:
        """Create the progress display of the run, on the main process."""
        items = self.folder.items
        if done:
            self.runner.logger.info(f'{done} of {total} {items} are explained already.')
        return Progress(total, 'explaining', items, done) if is_main_process() else None

    def device_name(self) -> str:
        """Return the name of the model's device."""
        device = device_of(self.model)
        return torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type
