"""Tests of a model and its controls on one fold of a benchmark."""
import copy
import time
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfss.evaluation import CopiedMask, PrototypeMatching
from mmfss.evaluation.protocol import protocol_deviations
from mmfss.utils.unwrap import unwrap
from mmfss.utils.versions import versions
from .hooks import ProgressHook
from .model_weights import load_weights, set_checkpoint

MODEL = 'model'
WRONG_SUPPORT = 'wrong-class support'
CONTROLS = {'copied mask': CopiedMask, 'untrained prototype': PrototypeMatching}
METHODS = (MODEL, WRONG_SUPPORT, *CONTROLS)


def evaluate_methods(cfg: Config, checkpoint: Optional[Path], methods: Sequence[str],
                     work_dir: Path) -> Iterator[tuple[str, dict]]:
    """Test a model and its controls on the same episodes.

    Args:
        cfg (Config): The config, with the episodes set; not changed.
        checkpoint (Path, optional): Checkpoint of the model; None for one that needs no training.
        methods (Sequence[str]): Some of ``METHODS``.
        work_dir (Path): Folder of the logs.

    Yields:
        tuple[str, dict]: Each method with its result: ``metrics``, ``episodes`` (metainfo of the dataset),
        ``protocol`` (deviations from the published one), ``seconds`` and ``versions``.
    """
    if set(methods) - {WRONG_SUPPORT}:
        runner = build_runner(cfg, checkpoint, work_dir)
        model = unwrap(runner.model)
        for method in (method for method in methods if method != WRONG_SUPPORT):
            runner.model = CONTROLS[method](model) if method in CONTROLS else model
            model.eval()
            yield method, _test(runner, method)
    if WRONG_SUPPORT in methods:
        cfg = copy.deepcopy(cfg)
        cfg.test_dataloader.dataset = dict(type='WrongSupportDataset', dataset=cfg.test_dataloader.dataset)
        yield WRONG_SUPPORT, _test(build_runner(cfg, checkpoint, work_dir), WRONG_SUPPORT)


def build_runner(cfg: Config, checkpoint: Optional[Path], work_dir: Path) -> Runner:
    """Build a quiet runner that tests a checkpoint.

    Args:
        cfg (Config): The config, with the episodes set; not changed.
        checkpoint (Path, optional): The checkpoint, which is loaded; None for a model that needs no training.
        work_dir (Path): Folder of the logs.

    Returns:
        Runner: Its ``test()`` is ready to be called.
    """
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(work_dir)
    set_checkpoint(cfg, None if checkpoint is None else str(checkpoint))
    # The figures are what counts here; the config, the environment and every table would be logged once per runner.
    cfg.log_level = 'WARNING'
    runner = RUNNERS.build(cfg)
    runner.register_hook(ProgressHook())
    load_weights(runner)
    return runner


def _test(runner: Runner, method: str) -> dict[str, Any]:
    dataset = runner.test_dataloader.dataset
    progress, = (hook for hook in runner.hooks if isinstance(hook, ProgressHook))
    progress.what = f'testing {method}, {dataset.metainfo["num_shots"]}-shot'
    start = time.perf_counter()
    metrics = runner.test()
    return dict(
        metrics=metrics,
        episodes=dict(dataset.metainfo),
        protocol=protocol_deviations(dataset),
        seconds=round(time.perf_counter() - start, 1),
        versions=versions())
