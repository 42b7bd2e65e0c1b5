"""A small explanation run: a tiny model, tiny pictures.

As a script, ``python explaining.py DIR OUT [KILL_AFTER]`` runs it, and kills itself after some episodes.
"""
import os
import signal
import sys
from pathlib import Path
from typing import Any

import mmfss  # noqa: F401  isort: skip  (before MMSegmentation)
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmfss.engine import leave_distributed, setup_distributed
from mmfss.registry import HOOKS
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.model import TINY_MODEL, build_tiny_model

EXPLAINERS = dict(
    random=dict(type='random'), noise=dict(type='gaussian_noise', std=0.1), saliency=dict(type='saliency'),
    unmasked_affex=dict(type='unmasked_affex'))
METRICS = [
    dict(type='InsertionDeletion', num_steps=1, percentage=0.05, loss=True, skip_empty=True),
    dict(type='InsertionDeletion', num_steps=4, measure='confidence'),
]


@HOOKS.register_module()
class KillExplanationHook(Hook):
    """Kill the process after some episodes."""

    def __init__(self, after: int) -> None:
        self.after = after

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if batch_idx + 1 == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


def write_run(root: Path, bias: float = 0.) -> Path:
    """Write pictures, a checkpoint and the config of an ordinary test, which is returned.

    Args:
        root (Path): An empty folder.
        bias (float): Added to the foreground logit; a very low one makes the model predict nothing.
    """
    write_class_folders(root / 'data')
    model = build_tiny_model()
    with torch.no_grad():
        model.head.mixer3[2].bias[1] += bias
    torch.save(dict(state_dict=model.state_dict()), root / 'tiny.pth')
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(
            type='ImageFolderDataset', data_root=str(root / 'data'), split='test', fold=0, num_folds=2,
            pipeline=PIPELINE, sampler=dict(type='UniformEpisodeSampler', num_episodes=5)))
    cfg = Config(dict(
        default_scope='mmfss',
        custom_imports=dict(imports=['mmfss'], allow_failed_imports=False),
        model=TINY_MODEL,
        work_dir=str(root / 'work'),
        log_level='WARNING',
        test_dataloader=loader,
        test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='EpisodicIoU')))
    cfg.dump(root / 'tiny.py')
    return root / 'tiny.py'


def run_config(config: Path, out: Path, **changes: Any) -> Config:
    """The config with an explanation as its test; ``changes`` are arguments of the loop."""
    cfg = Config.fromfile(config)
    hooks = changes.pop('custom_hooks', [])
    cfg.pop('test_cfg')
    cfg.test_cfg = dict(type='ExplanationLoop', explainers=EXPLAINERS, out_dir=str(out), panels=2, **changes)
    cfg.test_evaluator = METRICS
    cfg.load_from = str(config.with_suffix('.pth'))
    cfg.custom_hooks = hooks
    # MMEngine keeps one logger, with its stream, for each name.
    cfg.experiment_name = f'explain-{out.name}-{os.getpid()}-{id(cfg)}'
    return cfg


def explain(cfg: Config) -> Runner:
    """Run it."""
    runner = RUNNERS.build(cfg)
    runner.test()
    return runner


if __name__ == '__main__':
    config, out, kill_after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    hooks = [dict(type='KillExplanationHook', after=kill_after)] if kill_after else []
    cfg = run_config(config, out, custom_hooks=hooks)
    setup_distributed(cfg, 'pytorch' if 'LOCAL_RANK' in os.environ else 'none')
    explain(cfg)
    leave_distributed()
