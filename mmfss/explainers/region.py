"""The query region whose segmentation is explained."""
from typing import Optional, Sequence, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor
from mmfss.structures import Episode
from mmfss.utils.defaults import REGIONS

Region = Union[str, Tensor]


class EmptyRegionError(ValueError):
    """Error: the region of a class has no pixel, so that there is nothing to explain."""


def select_region(region: Region,
                  model: BaseFewShotSegmentor,
                  episode: Episode,
                  logits: Optional[Tensor] = None) -> Tensor:
    """Select the pixels of a region, for each class.

    Args:
        region (str | Tensor): ``'prediction'``, the pixels that the model gives class n; ``'ground_truth'``, those that
            have label n; ``'all'``; or a boolean mask, (h, w) for every class or (N, h, w), of the query's size or to
            be resized to it (nearest).
        model (BaseFewShotSegmentor): Predicts only if the region is ``'prediction'`` and there are no logits.
        episode (Episode): The episode.
        logits (Tensor, optional): Logits of the query if they are known, (N+1, h, w).

    Returns:
        Tensor: Boolean, shape (N, h, w).

    Raises:
        EmptyRegionError: If the region of a class is empty.
        ValueError: If the region is of no known kind or shape, or the ground truth is requested but unknown.
    """
    mask = region_pixels(region, model, episode, logits)
    check_region(mask, region, episode)
    return mask


def check_region(mask: Tensor, region: Region, episode: Episode) -> None:
    """Raise an :class:`EmptyRegionError` that names the classes whose region (N, h, w) has no pixel."""
    empty = [number for number, pixels in enumerate(mask, start=1) if not pixels.any()]
    if empty:
        what = f'The region "{region}"' if isinstance(region, str) else 'The given region'
        names = (episode.info or {}).get('class_names')
        classes = ', '.join(f'{n} ("{names[n - 1]}")' if names else str(n) for n in empty)
        raise EmptyRegionError(f'{what} of class {classes} has no pixel in the query: there is nothing to explain.')


def region_pixels(region: Region,
                  model: BaseFewShotSegmentor,
                  episode: Episode,
                  logits: Optional[Tensor] = None) -> Tensor:
    """Select the pixels of a region for each class, (N, h, w); a class may have none. See :func:`select_region`."""
    classes = torch.arange(1, episode.num_ways + 1, device=episode.query.device)[:, None, None]
    # A mask of the user
    if isinstance(region, Tensor):
        if region.ndim not in (2, 3) or (region.ndim == 3 and len(region) != episode.num_ways):
            raise ValueError(f'A region must have shape (h, w) or (N, h, w) with N = {episode.num_ways}, got '
                             f'{tuple(region.shape)}.')
        region = region.to(episode.query.device).bool().expand(episode.num_ways, *region.shape[-2:])
        return resize_region(region, episode.query_size)
    # A region by name
    if region == 'prediction':
        if logits is None:
            with torch.no_grad():
                logits = model.logits(episode.query[None], episode.support[None], episode.masks[None])[0]
        return logits.argmax(0) == classes
    if region == 'ground_truth':
        if episode.target is None:
            raise ValueError('The region "ground_truth" needs an episode whose query labels are known.')
        return episode.target[None] == classes
    if region == 'all':
        return torch.ones((episode.num_ways, *episode.query_size), dtype=torch.bool, device=episode.query.device)
    raise ValueError(f'Unknown region "{region}": give one of {", ".join(REGIONS)}, or a boolean mask.')


def region_of_each(region: Union[Region, Sequence[Region]], episodes: Sequence[Episode]) -> list[Region]:
    """Return one region for each of B episodes, given one for all or a sequence of B."""
    if isinstance(region, (str, Tensor)):
        return [region] * len(episodes)
    if len(region) != len(episodes):
        raise ValueError(f'{len(region)} regions were given for {len(episodes)} episodes.')
    return list(region)


def resize_region(region: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize boolean masks (N, h, w) to (N, *size), nearest neighbour."""
    if tuple(region.shape[-2:]) == tuple(size):
        return region
    return F.interpolate(region[None].float(), tuple(size))[0].bool()
