"""Support sets of users: images and masks, of one class or of several."""
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np
from torch import Tensor

from mmfss.datasets.annotations import UnknownClassError, is_annotation_file, read_annotated_mask
from mmfss.datasets.masks import IGNORE
from mmfss.datasets.orientation import file_orientation
from mmfss.models import SupportEncoding
from mmfss.models.layers.class_presence import PresenceCells
from .image_transform import ImageInput, ImageTransform, read_mask

Shots = Sequence[tuple[ImageInput, ImageInput]]
Support = Union[Shots, Mapping[str, Shots]]


@dataclass(frozen=True)
class SupportShot:
    """Hold one annotated image.

    Attributes:
        name (str): Its file, or its number.
        mask_name (str, optional): The file of its mask; None for an array.
        image (np.ndarray): The picture, (H, W, 3) uint8 BGR.
        mask (np.ndarray): (H, W) uint8; 1 object, 0 background, 255 ignored.
        network_image (Tensor): The picture at network size, (3, h, w) uint8 BGR.
        network_mask (Tensor): The mask at network size, (h, w) bool.
    """
    name: str
    mask_name: Optional[str]
    image: np.ndarray
    mask: np.ndarray
    network_image: Tensor
    network_mask: Tensor


@dataclass(frozen=True)
class EncodedSupport:
    """Hold an encoded support set, for any number of queries in any number of threads.

    Made by :meth:`FewShotInferencer.encode_support`. Pictures and masks are copies that cannot be written to.

    Attributes:
        class_names (tuple[str, ...]): N names; label n of a prediction is the n-th.
        encoding (SupportEncoding): What the model keeps of the support images.
        shots (tuple[tuple[SupportShot, ...], ...]): The supports of each class, which explanations are about.
        num_negatives (int): Ways of the encoding, behind the classes, that show what is not meant. Defaults to 0.
        presence (tuple[PresenceCells, ...], optional): By which the presence of each class is judged.
    """
    class_names: tuple[str, ...]
    encoding: SupportEncoding
    shots: tuple[tuple[SupportShot, ...], ...]
    num_negatives: int = 0
    presence: Optional[tuple[PresenceCells, ...]] = None


def load_support(support: Support,
                 transform: ImageTransform,
                 bgr: bool = True,
                 ignore_value: Optional[int] = None,
                 upright: Optional[bool] = None,
                 invert: bool = False) -> dict[str, tuple[SupportShot, ...]]:
    """Read a support set and resize it to network size.

    Args:
        support (Sequence | Mapping): Pairs of image and mask, K of one class (called "object"); or such pairs by class
            name, where classes may differ in K.
        transform (ImageTransform): Prepares images and masks.
        bgr (bool): Whether the channels of arrays are BGR rather than RGB.
        ignore_value (int, optional): Value in masks of pixels that are neither object nor background.
        upright (bool, optional): How masks with or without an EXIF orientation are read, see :func:`read_object_mask`.
        invert (bool): Exchange object and background of all masks.

    Returns:
        dict[str, tuple[SupportShot, ...]]: By class name.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be read, a mask is empty or of another size than its image, or a class has no pair.
    """
    classes = dict(support) if isinstance(support, Mapping) else {'object': support}
    if not classes:
        raise ValueError('The support set has no class.')
    loaded = {}
    for name, pairs in classes.items():
        if not isinstance(pairs, Sequence) or len(pairs) == 0 or not all(_is_pair(pair) for pair in pairs):
            raise ValueError(f'The support of class "{name}" must be a list of one or more pairs (image, mask).')
        loaded[name] = tuple(
            _load_shot(name, number, image, mask, transform, bgr, ignore_value, upright, isinstance(support, Mapping),
                       invert)
            for number, (image, mask) in enumerate(pairs, start=1))
        # The supports of a class are stacked
        sizes = {tuple(shot.network_mask.shape) for shot in loaded[name]}
        if len(sizes) > 1:
            raise ValueError(f'The test pipeline gives the supports of class "{name}" different sizes, '
                             f'{sorted(sizes)}: it must resize to one size.')
    return loaded


def load_negatives(negative: Optional[Shots], transform: ImageTransform, **options: Any) -> tuple[SupportShot, ...]:
    """Read negative references, pairs of image and mask of what is not meant.

    Args:
        negative (Sequence, optional): The pairs; None for none.
        transform (ImageTransform): Prepares images and masks.
        **options: Further arguments of :func:`load_support`.

    Returns:
        tuple[SupportShot, ...]: Empty without negative references.

    Raises:
        FileNotFoundError, ValueError: As :func:`load_support`; also if a mask covers its whole image.
    """
    if negative is None:
        return ()
    shots, = load_support({'negative': negative}, transform, **options).values()
    for shot in shots:
        if (shot.mask != 0).all():
            raise ValueError(f'The mask of the negative reference "{shot.name}" covers the whole image, which would '
                             'take away everything: mark only what is not meant.')
    return shots


def _load_shot(class_name: str, number: int, image_input: ImageInput, mask_input: ImageInput, transform: ImageTransform,
               bgr: bool, ignore_value: Optional[int], upright: Optional[bool], named: bool,
               invert: bool) -> SupportShot:
    image_name = _describe(image_input, f'image {number} of class "{class_name}"')
    mask_name = _describe(mask_input, f'mask {number} of class "{class_name}"')
    # Read and compare
    image = transform.read(image_input, bgr)
    if is_annotation_file(mask_input):
        mask = _annotated_mask(mask_input, image_input, image.shape[:2], upright, class_name if named else None)
    else:
        mask = read_mask(mask_input, ignore_value, upright, image_input, transform.max_pixels)
    if invert:
        mask = np.where(mask == IGNORE, mask, 1 - mask)
    if mask.shape != image.shape[:2]:
        turned = (' Was the mask drawn on the picture as it is stored, not as its EXIF orientation turns it? Then use '
                  'upright=False.') if mask.shape == image.shape[1::-1] else ''
        raise ValueError(f'The {mask_name} has size {mask.shape} (H, W), but the {image_name} has '
                         f'{image.shape[:2]}: they must be equal.{turned}')
    if not (mask == 1).any():
        raise ValueError(f'The {mask_name} is empty: no pixel belongs to "{class_name}".')
    # Prepare for the network
    network_image, network_mask = transform.prepare(image, mask)
    if not network_mask.any():
        warnings.warn(f'The object in {mask_name} is so small that nothing of it is left at network size '
                      f'{tuple(network_mask.shape)}.', stacklevel=5)
    name = f'image {number}' if isinstance(image_input, np.ndarray) else str(image_input)
    mask_file = None if isinstance(mask_input, np.ndarray) else str(mask_input)
    return SupportShot(name, mask_file, _constant(image), _constant(mask), network_image, network_mask)


def _annotated_mask(file: Union[str, Path], image: ImageInput, size: tuple[int, int], upright: Optional[bool],
                    class_name: Optional[str]) -> np.ndarray:
    """Draw a class of an annotation file. The only class of a file is meant, whatever the user calls it."""
    path = None if isinstance(image, np.ndarray) else image
    if upright is False and path is not None and (file_orientation(path) or 1) > 1:
        raise ValueError(f'{file} was drawn on the upright picture, but {path} is read as it is stored '
                         '(upright=False, --no-upright): leave that out.')
    try:
        return read_annotated_mask(file, path, size, class_name)
    except UnknownClassError as error:
        if len(error.known) != 1:
            raise
        return read_annotated_mask(file, path, size, error.known[0])


def _constant(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, (tuple, list)) and len(pair) == 2


def _describe(item: ImageInput, otherwise: str) -> str:
    """Return the name of an image or a mask for error messages."""
    return otherwise if isinstance(item, np.ndarray) else f'{otherwise.split()[0]} "{item}"'
