"""Preparing single images and masks exactly as a model's test pipeline does."""
import io
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from mmfss.datasets import ForEachImage, LoadClassMask, LoadEpisodeImage
from mmfss.datasets.images import checked_bytes, read_image, read_label_map
from mmfss.registry import TRANSFORMS

ImageInput = Union[str, Path, np.ndarray]


class ImageTransform:
    """The part of a test pipeline that handles one image, without a data set.

    It is built from the pipeline itself: the transforms inside its ``ForEachImage``, with the loading of class masks
    from a data set replaced by the mask that is given.

    Args:
        pipeline (Sequence[dict]): The test pipeline of the model's config.
        upright (bool): Turn pictures as their EXIF orientation says; else the pipeline decides.

    Raises:
        ValueError: If the pipeline has no ``ForEachImage`` or does not load images in it.
    """

    def __init__(self, pipeline: Sequence[dict], upright: bool = True) -> None:
        steps = [TRANSFORMS.build(step) for step in pipeline]
        per_image = [inner for step in steps if isinstance(step, ForEachImage) for inner in step.transforms.transforms]
        loaders = [step for step in per_image if isinstance(step, LoadEpisodeImage)]
        if len(loaders) != 1:
            raise ValueError('The test pipeline must load images by one LoadEpisodeImage inside ForEachImage, got '
                             f'{[step["type"] for step in pipeline]}.')
        self.color_type = 'color' if upright else loaders[0].color_type
        loading = (LoadEpisodeImage, LoadClassMask)
        self.transforms = Compose([step for step in per_image if not isinstance(step, loading)])

    @classmethod
    def from_config(cls, cfg: Config, upright: bool = True) -> 'ImageTransform':
        """Build it from the pipeline of ``cfg.test_dataloader``."""
        dataset = cfg.get('test_dataloader', {}).get('dataset', {})
        if 'pipeline' not in dataset:
            raise ValueError('The config has no test_dataloader.dataset.pipeline, which says how images are prepared.')
        return cls(dataset.pipeline, upright)

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
            return read_image(image, self.color_type)
        if not isinstance(image, np.ndarray):
            raise ValueError(f'An image must be the name of a file or a NumPy array, got a {type(image).__name__}.')
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise ValueError(f'An image array must be (H, W, 3) or (H, W) uint8, got {image.shape} {image.dtype}.')
        if image.ndim == 2:
            return np.repeat(image[..., None], 3, axis=2)
        return image if bgr else np.ascontiguousarray(image[..., ::-1])

    def prepare(self, image: np.ndarray, mask: Optional[np.ndarray] = None) -> tuple[Tensor, Optional[Tensor]]:
        """Bring an image, and its mask, to network size.

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


def read_mask(mask: ImageInput, ignore_value: Optional[int] = None) -> np.ndarray:
    """Read a binary mask: 0 is background, everything else the object.

    Args:
        mask (str | Path | np.ndarray): A file (one channel of 8 or 16 bits, palette, or drawn in colour on black; of a
            JPEG, whose zeros are not exact, values below 128 are background), or an array (H, W), boolean or integer.
        ignore_value (int, optional): Value of pixels that are neither.

    Returns:
        np.ndarray: (H, W) uint8; 1 object, 0 background, 255 ignored.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be decoded, or the array is not a mask.
    """
    if not isinstance(mask, (str, Path, np.ndarray)):
        raise ValueError(f'A mask must be the name of a file or a NumPy array, got a {type(mask).__name__}.')
    stored = mask if isinstance(mask, np.ndarray) else _read_stored(mask)
    if stored.ndim != 2 or stored.dtype.kind not in 'bui':
        raise ValueError(f'A mask array must be (H, W), boolean or integer, got {stored.shape} {stored.dtype}.')
    binary = (stored != 0).astype(np.uint8)
    if ignore_value is not None:
        binary[stored == ignore_value] = 255
    return binary


def _read_stored(path: Union[str, Path]) -> np.ndarray:
    """Values (H, W) of a mask file."""
    with Image.open(io.BytesIO(checked_bytes(path))) as image:
        lossy = image.format == 'JPEG'
        if image.mode.startswith('I'):  # More than 8 bits: no class numbers, but something or nothing.
            try:
                return np.array(image)
            except (OSError, SyntaxError, ValueError) as error:
                raise ValueError(f'The mask {path} is corrupt or incomplete: {error}') from error
    stored = read_label_map(path, allow_color=True)
    return np.where(stored < 128, 0, stored) if lossy else stored
