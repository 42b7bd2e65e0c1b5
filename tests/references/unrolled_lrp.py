"""Networks and inputs of the reference numbers in ``tests/data/unrolled_lrp``, by the rules that made them."""
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from mmcv.cnn import ConvModule
from mmpretrain.models.backbones import VGG
from torch import Tensor, nn

from mmfss.models import UnrolledLRPSegmentor
from tests.references.seeded import seeded_array, seeded_image, seeded_mask, seeded_state_dict

DATA = Path(__file__).parents[1] / 'data/unrolled_lrp'
RESNET18 = [('*fc.weight', 40), ('*conv*', 1.4), ('*downsample.0*', 1.0), ('*bn2.weight', 0.5)]
VGG16 = [('classifier.6.*', 60), ('*', 1.41)]
RESNET50 = [('*fc.weight', 40), ('*conv*', 1.4), ('*downsample.0*', 1.0), ('*bn3.weight', 0.5)]


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(DATA / f'{name}.npz') as archive:
        return dict(archive)


def tensor(name: str, shape: Sequence[int], seed: int = 0) -> Tensor:
    return torch.from_numpy(seeded_array(name, shape, seed))


def images(shape: Sequence[int], seed: int) -> Tensor:
    return torch.from_numpy((0.5 + 0.25 * seeded_image('image', shape, seed)).clip(1 / 256, 1).astype(np.float32))


def label_maps(count: int, num_classes: int, size: Sequence[int], seed: int, unlabelled: Sequence[int] = ()) -> Tensor:
    """Labels (N, H, W), -1 throughout images without a mask."""
    maps = torch.zeros(count, *size, dtype=torch.int64)
    for i in range(count):
        for j in range(2):
            inside = torch.from_numpy(seeded_mask(f'mask_{i}_{j}', size, seed)) > 0
            maps[i][inside] = 1 + (2 * i + j) % (num_classes - 1)
        if i in unlabelled:
            maps[i] = -1
    return maps


def draw_weights(module: nn.Module, seed: int, gains: Sequence[tuple[str, float]] = (), prefix: str = '',
                 strip: Sequence[str] = ()) -> None:
    """Fill a network with seeded weights, named as in torchvision."""
    names = {}
    for name, value in module.state_dict().items():
        if not name.endswith('num_batches_tracked'):
            plain = name
            for part in strip:
                plain = plain.removeprefix(part)
            names[prefix + plain] = (name, value.shape)
    drawn = seeded_state_dict({name: shape for name, (_, shape) in names.items()}, seed, gains)
    module.load_state_dict({names[name][0]: torch.from_numpy(value) for name, value in drawn.items()}, strict=False)


def resnet_segmentor(depth: int, num_classes: int, seed: int, gains: Sequence[tuple[str, float]],
                     cls_loss_over_batch: str = 'sum', **head: Any) -> UnrolledLRPSegmentor:
    head = dict(dict(type='UnrolledLRPHead', chunk=num_classes, iterative_gradients=False), **head)
    model = UnrolledLRPSegmentor(
        backbone=dict(type='mmpretrain.ResNet', depth=depth),
        cls_head=dict(type='PooledClassifier', in_channels=512 if depth < 50 else 2048, num_classes=num_classes),
        decode_head=head, ignore_index=-1, cls_loss_over_batch=cls_loss_over_batch)
    draw_weights(model, seed, gains, strip=('backbone.', 'cls_head.'))
    return model.eval()


def vgg16_features(seed: int) -> nn.Module:
    """VGG-16 without its classifier; torchvision counts the ReLUs as layers of their own."""
    backbone = VGG(depth=16)
    backbone.eval()
    names, position = {}, 0
    for number, module in enumerate(backbone.features):
        if isinstance(module, ConvModule):
            for kind in ('weight', 'bias'):
                names[f'features.{position}.{kind}'] = f'features.{number}.conv.{kind}'
        position += 2 if isinstance(module, ConvModule) else 1
    state = backbone.state_dict()
    drawn = seeded_state_dict({name: state[own].shape for name, own in names.items()}, seed, VGG16)
    backbone.load_state_dict({own: torch.from_numpy(drawn[name]) for name, own in names.items()})
    return backbone
