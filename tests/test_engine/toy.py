"""A training run of a second: random numbers, a layer with dropout, every part as in a real config.

As a script: ``python toy.py crash DIR`` runs and kills it, ``torchrun toy.py train_in_processes DIR`` does what it
says.
"""
import argparse
import os
import signal
from itertools import count
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import mmfss  # noqa: F401  isort: skip  (before MMSegmentation)
import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmfss.engine import leave_distributed, setup_distributed
from mmfss.registry import DATASETS, HOOKS, METRICS, MODELS
from mmfss.utils.files import dump_json


@DATASETS.register_module()
class ToyDataset(Dataset):
    """Vectors with random noise: from the index and, as careless augmentations do, from the global generator."""

    def __init__(self, size: int = 7, noise: float = 0.1) -> None:
        self.size, self.noise, self.loaded = size, noise, 0

    def __getitem__(self, index: int) -> Dict[str, Any]:
        self.loaded += 1
        inputs = torch.from_numpy(np.random.RandomState(index).randn(4).astype(np.float32))
        inputs += self.noise * float(np.random.rand())
        return dict(inputs=inputs, data_samples=float(index % 2))

    def __len__(self) -> int:
        return self.size


@MODELS.register_module()
class ToyModel(BaseModel):
    """A frozen layer, dropout and a trained layer."""

    def __init__(self, width: int = 8, dropout: float = 0.5) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, width).requires_grad_(False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 1)

    def forward(self, inputs: List[Tensor], data_samples: List[float], mode: str = 'tensor') -> Any:
        output = self.head(self.dropout(self.frozen(torch.stack(inputs)))).flatten()
        if mode == 'loss':
            return dict(loss=(output.float() - torch.tensor(data_samples)).square().mean())
        return [dict(value=value) for value in output.tolist()]


@METRICS.register_module()
class ToyMetric(BaseMetric):
    """The mean output, drawing random numbers on the way."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        torch.rand(3), np.random.rand()
        self.results.extend(sample['value'] for sample in data_samples)

    def compute_metrics(self, results: list) -> Dict[str, float]:
        return dict(mIoU=float(np.mean(results)))


@HOOKS.register_module()
class RecordHook(Hook):
    """Remember every loss and every index of validation; kill the process if told to."""

    def __init__(self, kill_at: Optional[int] = None) -> None:
        self.kill_at, self.losses, self.validated = kill_at, {}, []

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.losses[runner.iter + 1] = float(outputs['loss'].detach())
        if runner.iter + 1 == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def after_val_epoch(self, runner: Runner, metrics: Dict[str, float]) -> None:
        self.validated.append(runner.iter)


_NUMBER = count()


def toy_config(work_dir: Path, name: str, max_iters: int = 20, **changes: Any) -> Config:
    """A complete config; ``changes`` are dotted keys with ``__`` for the dots."""
    loader = dict(batch_size=2, num_workers=0, dataset=dict(type='ToyDataset'))
    cfg = Config(
        dict(
            default_scope='mmfss',
            work_dir=str(work_dir),
            # Runs of one name that begin within a second would share MMEngine's logger and message hub.
            experiment_name=f'{name}_{next(_NUMBER)}',
            model=dict(type='ToyModel'),
            train_dataloader=dict(loader, sampler=dict(type='EpisodeStream')),
            val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
            val_evaluator=dict(type='ToyMetric', prefix=''),
            train_cfg=dict(type='EpisodeTrainLoop', max_iters=max_iters, val_interval=5),
            val_cfg=dict(),
            param_scheduler=[dict(type='OneCycleLR', eta_max=0.02, total_steps=20, by_epoch=False)],
            optim_wrapper=dict(
                type='OptimWrapper',
                constructor='TrainableOptimWrapperConstructor',
                optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
            default_hooks=dict(
                runtime_info=dict(type='DeferredRuntimeInfoHook'),
                logger=dict(type='LoggerHook', interval=5),
                checkpoint=dict(
                    type='ExactCheckpointHook', by_epoch=False, interval=5, save_best='mIoU', max_keep_ckpts=1)),
            custom_hooks=[dict(type='RecordHook')],
            log_processor=dict(by_epoch=False),
            randomness=dict(seed=3),
            resume=False))
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


def run(cfg: Config) -> Runner:
    """Train; the losses are then in the ``RecordHook``, see :func:`record`."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def record(runner: Runner) -> RecordHook:
    return next(hook for hook in runner.hooks if isinstance(hook, RecordHook))


def kill_in_the_middle_of_writing(number: int) -> None:
    """Replace the file backend's write: the ``number``-th one leaves half a file and kills the process."""
    from mmengine.fileio import LocalBackend
    written = []

    def put(self: LocalBackend, data: bytes, path: str) -> None:
        written.append(path)
        half = len(written) == number
        Path(path).write_bytes(data[:len(data) // 2] if half else data)
        if half:
            os.kill(os.getpid(), signal.SIGKILL)

    LocalBackend.put = put


CRASHES = dict(
    at_iteration_13=dict(kill_at=13),
    # The writes are: iter_5, best of 5, iter_5 again, iter_10, ...
    writing_iter_10=dict(kill_in_write=4),
    writing_best_of_5=dict(kill_in_write=2))


def crash(work_dir: Path) -> None:
    """Run every case of ``CRASHES`` in its folder, each in a process of its own that gets killed."""
    for name, how in CRASHES.items():
        child = os.fork()
        if child == 0:
            if 'kill_in_write' in how:
                kill_in_the_middle_of_writing(how['kill_in_write'])
            run(toy_config(work_dir / name, name, custom_hooks=[dict(type='RecordHook', kill_at=how.get('kill_at'))]))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (name, status)


def train_in_processes(work_dir: Path) -> None:
    """Train in the processes started by torchrun and write down the weights."""
    cfg = toy_config(work_dir, 'processes', **DETERMINISTIC)
    setup_distributed(cfg, 'pytorch')
    runner = run(cfg)
    if runner.rank == 0:
        weights = {name.removeprefix('module.'): value for name, value in runner.model.state_dict().items()}
        dump_json(dict(weights=weights, world_size=runner.world_size), work_dir / 'result.json')
    leave_distributed()


# Neither depends on which process draws a random number.
DETERMINISTIC = dict(max_iters=6, model__dropout=0.0, train_dataloader__dataset__noise=0.0)

if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('what', choices=['crash', 'train_in_processes'])
    parser.add_argument('work_dir', type=Path)
    args = parser.parse_args()
    globals()[args.what](args.work_dir)
