"""Embedding of images for a prototype push."""
from typing import Any, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmfss.models import PrototypeHead
from mmfss.models.layers.prototypes import downsample_labels


def prototype_head(model: nn.Module) -> PrototypeHead:
    """Find the prototype head of a segmentor.

    Raises:
        ValueError: If it has another head.
    """
    head = getattr(model, 'decode_head', None)
    if not isinstance(head, PrototypeHead):
        raise ValueError(f'The model has no prototypes: its decode_head is a {type(head).__name__}, not a '
                         'ScaleProtoHead or ScaleProtoGroupHead.')
    return head


def group_head(model: nn.Module) -> PrototypeHead:
    """Find the prototype head of a segmentor, which must have groups.

    Raises:
        ValueError: If it has none.
    """
    head = prototype_head(model)
    if not head.num_groups:
        raise ValueError(f'The model has no groups: its decode_head is a {type(head).__name__}, not a '
                         'ScaleProtoGroupHead.')
    return head


class _Items:
    """Select items of a dataset, each with its index."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[int, dict]:
        return self.indices[place], self.dataset[self.indices[place]]


@torch.no_grad()
def embed_images(model: nn.Module, dataset: Any, indices: Sequence[int], batch_size: int = 1,
                 num_workers: int = 0) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield features and labels of images at the resolution of the prototypes.

    Args:
        model (nn.Module): A segmentor with a prototype head, in eval mode.
        dataset (Dataset): Items as ``PackSegInputs`` makes them.
        indices (Sequence[int]): Which ones.
        batch_size (int): Images of a forward.
        num_workers (int): Processes that load images.

    Yields:
        tuple[list[int], Tensor, Tensor]: Indices, features of each scale (B, S, D, h, w), labels at the cells
        (B, h, w), int64.
    """
    head = prototype_head(model)
    loader = DataLoader(_Items(dataset, indices), batch_size, num_workers=num_workers, collate_fn=list)
    for batch in loader:
        data = dict(
            inputs=[item['inputs'] for _, item in batch], data_samples=[item['data_samples'] for _, item in batch])
        data = model.data_preprocessor(data, False)
        features = head.scale_features(head.features(model.extract_feat(data['inputs'])))
        labels = torch.cat([
            downsample_labels(sample.gt_sem_seg.data.long(), features.shape[-2:]) for sample in data['data_samples']
        ])
        labels = labels.masked_fill(labels == head.ignore_index, -1).to(features.device)
        yield [index for index, _ in batch], features, labels
