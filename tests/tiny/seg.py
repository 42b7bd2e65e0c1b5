"""A tiny prototype segmentor and a dataset of a few small labelled pictures, also for other processes.

As a script: ``torchrun tiny_seg.py push DIR`` pushes in the processes that torchrun started.
"""
import argparse
from pathlib import Path
from typing import Any

import mmfss  # noqa: F401  isort: skip  (before MMSegmentation)
import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.utils.data import Dataset

from mmfss.models import ScaleProtoSegmentor
from mmfss.registry import DATASETS, MODELS, register_all_modules

CLASSES = ('ground', 'bar', 'disc', 'ghost')
"""No picture shows a ghost."""
TINY_HEAD = dict(
    type='ScaleProtoHead', in_channels=32, num_classes=4, scale_channels=4, dilations=(1, 2), prototypes_per_scale=2,
    regularizers=[dict(type='JeffreysDiversityLoss'), dict(type='OffClassL1Loss')])
TINY_SEGMENTOR = dict(
    type='ScaleProtoSegmentor',
    data_preprocessor=dict(type='SegDataPreProcessor', mean=[128.] * 3, std=[64.] * 3, bgr_to_rgb=True, size=(32, 32)),
    backbone=dict(
        type='mmpretrain.ResNet', depth=18, num_stages=3, stem_channels=8, base_channels=8, strides=(1, 2, 1),
        dilations=(1, 1, 2), out_indices=(2, ), norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True),
    decode_head=TINY_HEAD,
    test_cfg=dict(mode='whole'))


@DATASETS.register_module(force=True)
class TinySegDataset(Dataset):
    """Bars and discs on a ground, drawn from the index; ``fail_at`` breaks down once that many were read."""

    def __init__(self, size: int = 9, side: int = 32, fail_at: int | None = None) -> None:
        self.size, self.side, self.fail_at, self.read = size, side, fail_at, []
        self.metainfo = dict(classes=CLASSES)

    def full_init(self) -> None:
        pass

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        if len(self.read) == self.fail_at:
            raise KeyboardInterrupt('killed')
        self.read.append(index)
        rng = np.random.RandomState(index % self.size)
        labels = np.zeros((self.side, self.side), np.int64)
        top = rng.randint(0, self.side // 2)
        labels[top:top + 8, :self.side // 2] = 1
        rows, cols = np.mgrid[:self.side, :self.side]
        labels[(rows - rng.randint(10, 22))**2 + (cols - 24)**2 < 50] = 2
        labels[:2] = 255
        colours = np.array([[60, 70, 80], [200, 60, 60], [60, 200, 90]])
        image = colours[labels % 255 % 3] + rng.randint(-30, 30, (self.side, self.side, 3))
        sample = SegDataSample(
            gt_sem_seg=PixelData(data=torch.from_numpy(labels)[None]),
            metainfo=dict(img_path=f'{index % self.size}.png', ori_shape=labels.shape, img_shape=labels.shape))
        pixels = torch.from_numpy(image.clip(0, 255).transpose(2, 0, 1).astype(np.uint8))
        return dict(inputs=pixels, data_samples=sample)


def build_tiny_segmentor(seed: int = 0, **changes: Any) -> ScaleProtoSegmentor:
    """In eval mode, with random weights that depend on the seed alone."""
    register_all_modules(init_default_scope=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS.build(ConfigDict({**TINY_SEGMENTOR, **changes}))
        for conv in model.decode_head.scale_convs:
            torch.nn.init.normal_(conv.weight, std=0.3)
    return model.eval()


def push(out_dir: Path) -> None:
    """Push with as many processes as there are."""
    from mmfss.engine import leave_distributed
    from mmfss.prototypes import PrototypePush
    torch.distributed.init_process_group('gloo')
    PrototypePush(dict(type='TinySegDataset'), save_interval=2).run(build_tiny_segmentor(), out_dir)
    leave_distributed()


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('what', choices=['push'])
    parser.add_argument('out_dir', type=Path)
    args = parser.parse_args()
    globals()[args.what](args.out_dir)
