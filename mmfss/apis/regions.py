"""Regions of a query that a user chooses: whose segmentation is to be explained."""
from pathlib import Path
from typing import Optional, Sequence, Union

import cv2
import numpy as np
import torch
from torch import Tensor

from .image_transform import read_mask

QueryRegion = Union[str, Path, np.ndarray]

_FORMS = ('prediction, all, component:X,Y, box:LEFT,TOP,RIGHT,BOTTOM, polygon:X,Y,X,Y,X,Y,... (pixels of the query), '
          'or the file of a mask')


def query_regions(region: QueryRegion, labels: np.ndarray, num_classes: int) -> Optional[np.ndarray]:
    """Select the pixels of a query whose segmentation is explained, for each class.

    Args:
        region (str | Path | np.ndarray): ``'prediction'``; ``'all'``, the whole query; ``'component:X,Y'``, the
            connected part of the prediction that holds this pixel; ``'box:LEFT,TOP,RIGHT,BOTTOM'``, of which right and
            bottom are excluded; ``'polygon:X,Y,X,Y,X,Y,...'``, its corners; the file of a mask, e.g. of the truth; or a
            mask (H, W), or (N, H, W) with a mask of each class.
        labels (np.ndarray): The prediction, labels 0..N, (H, W).
        num_classes (int): N.

    Returns:
        np.ndarray, optional: Boolean, (N, H, W). A connected part belongs to its own class alone, other regions to
        every class. None for ``'prediction'``, which is known more exactly at network size.

    Raises:
        FileNotFoundError: If a mask file does not exist.
        ValueError: If the region is of no known form, has another size, lies outside the query or is empty.

    Example:
        >>> import numpy as np
        >>> from mmfss.apis.regions import query_regions
        >>> labels = np.array([[1, 0, 1], [1, 0, 0]])
        >>> query_regions('component:0,1', labels, num_classes=1).astype(int)
        array([[[1, 0, 0],
                [1, 0, 0]]])
    """
    if isinstance(region, str) and region == 'prediction':
        return None
    size = labels.shape
    if isinstance(region, str) and region.startswith('component:'):
        return _component(region, labels, num_classes)
    if isinstance(region, np.ndarray):
        mask = region != 0
    elif region == 'all':
        mask = np.ones(size, dtype=bool)
    elif isinstance(region, str) and region.partition(':')[0] in ('box', 'polygon'):
        mask = _box(region, size) if region.startswith('box:') else _polygon(region, size)
    elif isinstance(region, (str, Path)):
        mask = _from_file(region)
    else:
        raise ValueError(f'A region must be one of {_FORMS}, or an array; got a {type(region).__name__}.')
    if mask.shape not in (size, (num_classes, *size)):
        raise ValueError(f'The region has size {mask.shape}, but the query has {size} (H, W): they must be equal.')
    if not mask.any():
        raise ValueError(f'The region{_named(region)} is empty: there is nothing to explain.')
    return np.broadcast_to(mask, (num_classes, *size))


def to_network_size(regions: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Reduce regions (N, H, W) to network size, boolean, (N, h, w).

    A pixel belongs to a region if half of it or more does; a region that would vanish keeps every pixel it touches.
    """
    resized = []
    for region in regions:
        share = cv2.resize(region.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
        mask = share >= 0.5
        resized.append(mask if mask.any() else share > 0)
    return torch.from_numpy(np.stack(resized))


def connected_part(mask: np.ndarray, x: int, y: int) -> np.ndarray:
    """Select the connected part (also over corners) of a mask (H, W) that holds a pixel; empty outside of the mask."""
    _, numbers = cv2.connectedComponents(np.asarray(mask, dtype=np.uint8), connectivity=8)
    return np.asarray(mask, dtype=bool) & (numbers == numbers[y, x]) & bool(mask[y, x])


def _component(region: str, labels: np.ndarray, num_classes: int) -> np.ndarray:
    x, y = (int(value) for value in _numbers(region, 2))
    height, width = labels.shape
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f'The region {region} lies outside of the query, which has {width} x {height} pixels.')
    label = int(labels[y, x])
    if not 1 <= label <= num_classes:
        raise ValueError(f'The region {region} is empty: that pixel is predicted as background.')
    masks = np.zeros((num_classes, *labels.shape), dtype=bool)
    masks[label - 1] = connected_part(labels == label, x, y)
    return masks


def _box(region: str, size: tuple[int, int]) -> np.ndarray:
    left, top, right, bottom = (round(value) for value in _numbers(region, 4))
    mask = np.zeros(size, dtype=bool)
    mask[max(0, top):max(0, bottom), max(0, left):max(0, right)] = True
    return mask


def _polygon(region: str, size: tuple[int, int]) -> np.ndarray:
    values = _numbers(region)
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f'The region {region} needs three corners or more, each as X,Y.')
    return fill_polygon(np.reshape(values, (-1, 2)), size)


def fill_polygon(corners: Sequence[Sequence[float]], size: tuple[int, int]) -> np.ndarray:
    """Draw a polygon of corners (x, y) as a boolean mask of size (H, W)."""
    canvas = np.zeros(size, dtype=np.uint8)
    cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)
    return canvas.astype(bool)


def _numbers(region: str, count: Optional[int] = None) -> list[float]:
    try:
        values = [float(value) for value in region.partition(':')[2].split(',')]
        if not np.isfinite(values).all() or count not in (None, len(values)):
            raise ValueError
    except ValueError:
        raise ValueError(f'The region "{region}" is not one of {_FORMS}.') from None
    return values


def _from_file(region: Union[str, Path]) -> np.ndarray:
    if not Path(region).is_file():
        raise FileNotFoundError(f'The region "{region}" is neither a file nor one of {_FORMS}.')
    return read_mask(region) == 1


def _named(region: QueryRegion) -> str:
    return '' if isinstance(region, np.ndarray) else f' {region}'
