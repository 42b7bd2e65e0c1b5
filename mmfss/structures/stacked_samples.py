"""Data samples of a batch of episodes as a few tensors, which travel cheaply between processes and devices."""
from dataclasses import dataclass, replace
from typing import Any, Optional, Sequence

import torch
from mmengine.structures import PixelData
from torch import Tensor
from torch.utils.data import default_collate

from .episode_data_sample import EpisodeDataSample

_FIELDS = {'gt_sem_seg', '_gt_sem_seg', 'support_sem_seg', '_support_sem_seg'}


@dataclass(frozen=True)
class StackedSamples:
    """Hold the annotations of B episodes of one size, N ways, K shots.

    Attributes:
        target (Tensor): Labels of the queries, 0 to N and 255, shape (B, 1, H, W), uint8.
        support_masks (Tensor): 0, 1 and 255, shape (B, N, K, H, W), uint8.
        metainfo (list[dict]): Metainfo of each episode, see :class:`EpisodeDataSample`.
    """
    target: Tensor
    support_masks: Tensor
    metainfo: list[dict[str, Any]]

    @classmethod
    def of(cls, samples: Sequence[EpisodeDataSample]) -> Optional['StackedSamples']:
        """Stack samples; None if they differ in size or hold anything else.

        In a worker process the tensors are made in shared memory.
        """
        if any(not set(sample.all_keys()) - set(sample.metainfo_keys()) <= _FIELDS for sample in samples):
            return None
        targets = [sample.gt_sem_seg.data.to(torch.uint8) for sample in samples]
        masks = [sample.support_sem_seg for sample in samples]
        if len({tensor.shape for tensor in targets}) > 1 or len({tensor.shape for tensor in masks}) > 1:
            return None
        return cls(default_collate(targets), default_collate(masks), [sample.metainfo for sample in samples])

    def to(self, device: torch.device, non_blocking: bool = False) -> 'StackedSamples':
        """Copy the tensors to a device."""
        return replace(self, target=self.target.to(device, non_blocking=non_blocking),
                       support_masks=self.support_masks.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> 'StackedSamples':
        """Copy the tensors to page-locked memory, from which copies to a GPU are asynchronous."""
        return replace(self, target=self.target.pin_memory(), support_masks=self.support_masks.pin_memory())

    def split(self) -> list[EpisodeDataSample]:
        """Return the sample of each episode, with int64 labels."""
        samples = []
        for target, masks, metainfo in zip(self.target.long(), self.support_masks, self.metainfo):
            sample = EpisodeDataSample(metainfo=metainfo)
            sample.gt_sem_seg = PixelData(data=target)
            sample.support_sem_seg = masks
            samples.append(sample)
        return samples
