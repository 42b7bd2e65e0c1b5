"""Tiny classifiers that segment by their relevance, and batches with and without masks."""
from typing import Any

import mmfss  # noqa: F401  isort: skip  (before MMSegmentation)
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmfss.models import UnrolledLRPSegmentor

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


def step(inputs: Tensor, samples: list, distributed: bool) -> dict:
    """One step of SGD, batch norm in eval mode; the losses and the weights after it."""
    from mmengine.model import MMDistributedDataParallel
    from mmengine.optim import OptimWrapper
    model = build()
    wrapped = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False) if distributed else model
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    losses = wrapped(inputs, samples, mode='loss')
    optimizer.update_params(sum(losses.values()))
    return dict(losses={name: float(value.detach()) for name, value in losses.items()}, weights=model.state_dict())


if __name__ == '__main__':
    import sys
    from pathlib import Path

    from mmfss.engine import leave_distributed
    torch.distributed.init_process_group('gloo')
    rank = torch.distributed.get_rank()
    images, labels = batch()
    part = slice(2 * rank, 2 * rank + 2)
    torch.save(step(images[part], labels[part], True), Path(sys.argv[1], f'{rank}.pt'))
    leave_distributed()
