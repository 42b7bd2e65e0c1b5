"""Pruning of ProtoSeg (Sacha et al., WACV 2023): remove prototypes that are nearest to patches of other classes."""
from typing import Any

import torch
from torch import nn

from mmfss.models.layers.prototypes import downsample_labels
from .embedding import prototype_head
from .search import NearestImages


@torch.no_grad()
def prune_prototypes(model: nn.Module, dataset: Any, num_nearest: int = 6, min_hits: int = 3) -> dict[str, Any]:
    """Remove prototypes if too few of their nearest training patches show their class.

    For every prototype the nearest labelled cell of every image, of whatever class, is found in one pass; of the
    ``num_nearest`` nearest images the label of that cell's block of pixels counts: the prototype's class if it is there
    at all, else the most frequent label. ScaleProtoSeg itself does not prune; afterwards the last layer is trained
    again.

    Args:
        model (nn.Module): A segmentor of stage 1, pushed; changed in place.
        dataset (Dataset): Training images with labels, without augmentation.
        num_nearest (int): k.
        min_hits (int): Smallest number of hits that show the class.

    Returns:
        dict: ``kept`` and ``pruned`` (indices before), ``nearest`` (for every prototype before: images, cells, labels
        of its nearest patches, nearest first, -1 for void, and squared distances).

    Raises:
        ValueError: If the numbers are out of range, or nothing would be left.
    """
    if not 1 <= min_hits <= num_nearest:
        raise ValueError(f'min_hits must lie in 1..num_nearest = {num_nearest}, got {min_hits}.')
    head, training = prototype_head(model), model.training
    model.eval()
    # Search the nearest images
    nearest = NearestImages(head.num_prototypes, num_nearest)
    for image in range(len(dataset)):
        item = dataset[image]
        labels = item['data_samples'].gt_sem_seg.data.long()
        labels = labels.masked_fill(labels == head.ignore_index, -1)
        data = model.data_preprocessor(dict(inputs=[item['inputs']], data_samples=[item['data_samples']]), False)
        distances = torch.cat(head.distances(head.features(model.extract_feat(data['inputs']))), dim=1)[0]
        cells = downsample_labels(labels, distances.shape[-2:])[0].to(distances.device)
        nearest.update(distances, cells, labels[0], head.proto_class, image)
    # Keep prototypes with enough hits
    hits = (nearest.label == head.proto_class.cpu()[:, None]).sum(1)
    kept = (hits >= min_hits).nonzero().flatten()
    if not len(kept):
        raise ValueError(f'No prototype has {min_hits} hits among its {num_nearest} nearest images: nothing would be '
                         'left. Is this a pushed model, and are these its training images?')
    head.keep_prototypes(kept)
    model.train(training)
    fields = (nearest.image, nearest.cell, nearest.label, nearest.distance)
    return dict(
        kept=kept.tolist(), pruned=(hits < min_hits).nonzero().flatten().tolist(), num_nearest=num_nearest,
        min_hits=min_hits,
        nearest=[dict(images=image, cells=cell, labels=label, distances=distance)
                 for image, cell, label, distance in zip(*(field.tolist() for field in fields))])
