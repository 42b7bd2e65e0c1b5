"""Preparation of single images and masks by a model's test pipeline."""
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from torch import Tensor

from mmfss.datasets import ForEachImage, LoadClassMask, LoadEpisodeImage
from mmfss.datasets.images import read_image, size_limit
from mmfss.datasets.masks import read_object_mask
from mmfss.registry import TRANSFORMS

ImageInput = Union[str, Path, np.ndarray]


class ImageTransform:
    """Apply the part of a test pipeline that handles one image, without a dataset.

    It is built from the pipeline itself: the transforms inside its ``ForEachImage``, with the loading of class masks
    from a dataset replaced by the mask that is given.

    Args:
        pipeline (Sequence[dict]): The test pipeline of the model's config.
        upright (bool, optional): False keeps pictures as they are stored; else they are turned as their EXIF
            orientation says, whatever the pipeline does.
        max_pixels (int, optional): Largest number of pixels of a file, see :func:`size_limit`.

    Raises:
        ValueError: If the pipeline has no ``ForEachImage`` or does not load images in it.
    """

    def __init__(self,
                 pipeline: Sequence[dict],
                 upright: Optional[bool] = None,
                 max_pixels: Optional[int] = None) -> None:
        steps = [TRANSFORMS.build(step) for step in pipeline]
        per_image = [inner for step in steps if isinstance(step, ForEachImage) for inner in step.transforms.transforms]
        loaders = [step for step in per_image if isinstance(step, LoadEpisodeImage)]
        if len(loaders) != 1:
            raise ValueError('The test pipeline must load images by one LoadEpisodeImage inside ForEachImage, got '
                             f'{[step["type"] for step in pipeline]}.')
        self.color_type = 'color_ignore_orientation' if upright is False else 'color'
        self.max_pixels = None if max_pixels is None else size_limit(max_pixels)
        loading = (LoadEpisodeImage, LoadClassMask)
        self.transforms = Compose([step for step in per_image if not isinstance(step, loading)])

    @classmethod
    def from_config(cls,
                    cfg: Config,
                    upright: Optional[bool] = None,
                    max_pixels: Optional[int] = None) -> 'ImageTransform':
        """Build the transform from the pipeline of ``cfg.test_dataloader``."""
        dataset = cfg.get('test_dataloader', {}).get('dataset', {})
        if 'pipeline' not in dataset:
            raise ValueError('The config has no test_dataloader.dataset.pipeline, which says how images are prepared.')
        return cls(dataset.pipeline, upright, max_pixels)

    def read(self, image: ImageInput, bgr: bool = True) -> np.ndarray:
        """Read an image.

        Args:
            image (str | Path | np.ndarray): A file, or an array (H, W, 3) or (H, W) uint8.
            bgr (bool): Whether the channels of an array are BGR rather than RGB.

        Returns:
            np.ndarray: (H, W, 3) uint8 BGR.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file cannot be decoded, or the array is not an image.
        """
        if isinstance(image, (str, Path)):
            return read_image(image, self.color_type, self.max_pixels)
        if not isinstance(image, np.ndarray):
            raise ValueError(f'An image must be the name of a file or a NumPy array, got a {type(image).__name__}.')
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise ValueError(f'An image array must be (H, W, 3) or (H, W) uint8, got {image.shape} {image.dtype}.')
        if image.ndim == 2:
            return np.repeat(image[..., None], 3, axis=2)
        return image if bgr else np.ascontiguousarray(image[..., ::-1])

    def prepare(self, image: np.ndarray, mask: Optional[np.ndarray] = None) -> tuple[Tensor, Optional[Tensor]]:
        """Resize an image, and its mask, to network size.

        Args:
            image (np.ndarray): (H, W, 3) uint8 BGR.
            mask (np.ndarray, optional): (H, W) uint8; 1 class, 0 elsewhere, 255 ignored.

        Returns:
            tuple: The image (3, h, w) uint8 BGR, and the mask (h, w) bool where it is 1, or None.
        """
        results: dict[str, Any] = dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], seg_fields=[])
        if mask is not None:
            results.update(gt_seg_map=mask, seg_fields=['gt_seg_map'])
        results = self.transforms(results)
        tensor = torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1)))
        return tensor, None if mask is None else torch.from_numpy(results['gt_seg_map'] == 1)


def read_mask(mask: ImageInput,
              ignore_value: Optional[int] = None,
              upright: Optional[bool] = None,
              image: Optional[ImageInput] = None,
              max_pixels: Optional[int] = None) -> np.ndarray:
    """Read a binary mask: 0 is background, everything else the object.

    Args:
        mask (str | Path | np.ndarray): A file, see :func:`read_object_mask`, or an array (H, W), boolean or integer.
        ignore_value (int, optional): Value of pixels that are neither.
        upright (bool, optional): How a file with an EXIF orientation is read, see :func:`read_object_mask`.
        image (str | Path | np.ndarray, optional): The image that it belongs to; orientations of files are compared.
        max_pixels (int, optional): Largest number of pixels of a file, see :func:`size_limit`.

    Returns:
        np.ndarray: (H, W) uint8; 1 object, 0 background, 255 ignored.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be decoded or understood, or the array is not a mask.
    """
    if isinstance(mask, (str, Path)):
        return read_object_mask(mask, ignore_value, upright, None if isinstance(image, np.ndarray) else image,
                                max_pixels)
    if not isinstance(mask, np.ndarray):
        raise ValueError(f'A mask must be the name of a file or a NumPy array, got a {type(mask).__name__}.')
    if mask.ndim != 2 or mask.dtype.kind not in 'bui':
        raise ValueError(f'A mask array must be (H, W), boolean or integer, got {mask.shape} {mask.dtype}.')
    binary = (mask != 0).astype(np.uint8)
    if ignore_value is not None:
        binary[mask == ignore_value] = 255
    return binary
