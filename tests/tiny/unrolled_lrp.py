"""Tiny classifiers that segment by their relevance, and batches with and without masks."""
from typing import Any, Optional

import mmfss  # noqa: F401  isort: skip  (before MMSegmentation)
import torch
from mmengine.dist import get_world_size
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.distributed import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.nn.functional import all_reduce

from mmfss.models import UnrolledLRPSegmentor
from mmfss.models.segmentors import IterativeDataParallel

RESNET = dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=4)
VGG = dict(type='mmpretrain.VGG', depth=11)


def build(backbone: dict = RESNET, seed: int = 0, num_classes: int = 4, **changes: Any) -> UnrolledLRPSegmentor:
    """In eval mode, with random weights and statistics that depend on the seed alone; changes to the head, or model."""
    model_keys = ('seg_loss_weight', 'cls_loss_weight', 'cls_loss_over_batch', 'ignore_index')
    model_changes = {key: changes.pop(key) for key in model_keys if key in changes}
    cls_head = changes.pop('cls_head', None) or (
        dict(type='VGGClassifier', channels=12, num_classes=num_classes) if 'VGG' in backbone['type'] else
        dict(type='PooledClassifier', in_channels=32, num_classes=num_classes))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = UnrolledLRPSegmentor(
            backbone, cls_head, dict(dict(type='UnrolledLRPHead', chunk=2), **changes), **model_changes)
        randomize(model)
        # Weights of their own, if any, start as copies.
        model.decode_head.init_weights()
    return model.eval()


def randomize(model: nn.Module, biased: bool = True) -> None:
    """Draw weights and statistics of batch norm; without ``biased`` nothing adds a constant."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1 * biased)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.6, 1.2)
            nn.init.normal_(module.bias, std=0.1 * biased)
            nn.init.normal_(module.running_mean, std=0.1 * biased)
            nn.init.uniform_(module.running_var, 0.8, 1.5)


def batch(count: int = 4, num_classes: int = 4, size: tuple[int, int] = (32, 40), seed: int = 0,
          unmasked: tuple[int, ...] = (1, )) -> tuple[Tensor, list[SegDataSample]]:
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for index in range(count):
        labels = torch.zeros(1, *size, dtype=torch.int64)
        labels[:, 8:20, 5:20] = 1 + index % (num_classes - 1)
        labels[:, :2] = 255
        if index in unmasked:
            labels[:] = 255
        sample = SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, img_path=f'{index}.jpg'))
        sample.gt_sem_seg = PixelData(data=labels)
        sample.gt_image_labels = nn.functional.one_hot(torch.tensor(1 + index % (num_classes - 1)), num_classes)
        sample.gt_image_labels[0] = 1
        samples.append(sample)
    return torch.rand(count, 3, *size, generator=generator), samples


def gradients(model: nn.Module, inputs: Tensor, samples: list) -> dict[str, Tensor]:
    model.zero_grad()
    sum(model.loss(inputs, samples).values()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


class SeenSGD(torch.optim.SGD):
    """Keeps the gradients of its steps, by the names of the parameters."""

    def __init__(self, model: nn.Module, lr: float = 0.) -> None:
        super().__init__(model.parameters(), lr=lr)
        self.named, self.seen = dict(model.named_parameters()), []

    def step(self, closure: Any = None) -> None:
        self.seen.append({name: p.grad.clone() for name, p in self.named.items() if p.grad is not None})
        super().step(closure)


BATCHES = (0, 1)
CASES = dict(
    frozen=dict(training=False, chunk=1), synchronized=dict(training=True, chunk=1, bn_detach='stat'),
    one_pass=dict(training=True, iterative_gradients=False, bn_detach='stat'))


def iterate(training: bool, rank: Optional[int] = None, **changes: Any) -> dict:
    """One step of two accumulated batches in float64, alone or as one of two processes that share each batch."""
    model = build(**changes).double().train(training)
    optimizer = OptimWrapper(SeenSGD(model), accumulative_counts=len(BATCHES))
    part, wrapped, reduced = slice(None), model, []
    if rank is not None:
        part = slice(2 * rank, 2 * rank + 2)
        wrapped = IterativeDataParallel(model, device_ids=None, broadcast_buffers=False)
        # Afterwards: the wrapper takes SyncBatchNorm on GPUs alone.
        nn.SyncBatchNorm.convert_sync_batchnorm(model)

        def reduce(group: Any, bucket: GradBucket) -> torch.futures.Future[Tensor]:
            reduced.append(bucket.index())
            return allreduce_hook(group, bucket)

        wrapped.register_comm_hook(None, reduce)
    losses = []
    for seed in BATCHES:
        inputs, samples = batch(seed=seed)
        losses.append(wrapped.train_step(dict(inputs=inputs[part].double(), data_samples=samples[part]), optimizer))
    return dict(losses=losses, steps=optimizer.optimizer.seen, reduced=reduced)


def synchronized_norm(self: nn.SyncBatchNorm, x: Tensor) -> Tensor:
    """Forward pass of SyncBatchNorm, which PyTorch has for GPUs alone."""
    if not self.training:
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
    count = get_world_size() * x.numel() / x.shape[1]
    mean = all_reduce(x.sum((0, 2, 3), keepdim=True)) / count
    variance = all_reduce(((x - mean)**2).sum((0, 2, 3), keepdim=True)) / count
    weight, bias = (values.view(-1, 1, 1) for values in (self.weight, self.bias))
    return (x - mean) / (variance + self.eps).sqrt() * weight + bias


if __name__ == '__main__':
    import sys
    from pathlib import Path

    from mmfss.engine import leave_distributed
    torch.distributed.init_process_group('gloo')
    nn.SyncBatchNorm.forward = synchronized_norm
    own = torch.distributed.get_rank()
    torch.save({name: iterate(rank=own, **case) for name, case in CASES.items()}, Path(sys.argv[1], f'{own}.pt'))
    leave_distributed()
