"""Signs that a support set is not what its user thinks."""
from pathlib import Path
from typing import Any, List, Mapping, Optional, Sequence

import cv2
import numpy as np

from mmfss.datasets.picture_statistics import unlike_training
from mmfss.visualization import caption_image, overlay_mask, tile_images
from .advice import border_share
from .support_set import SupportShot

_COLOURS = 64  # of 4 bits per channel; black-and-white masks have 16 at most, class colours few, photographs hundreds
_TILE = 256


def support_warnings(classes: Mapping[str, Sequence[SupportShot]]) -> List[str]:
    """Look for masks that are probably wrong.

    * All masks of a class cover most of the border of their pictures and more than half of their area: object and
      background may be exchanged.
    * A mask has as many colours as a photograph: it may be a picture with the object painted on it, in which
      everything that is not black counts as object.

    Args:
        classes (Mapping[str, Sequence[SupportShot]]): The supports by class name.

    Returns:
        list[str]: A sentence for each sign.
    """
    found = []
    for name, shots in classes.items():
        if all(_looks_inverted(shot.mask == 1) for shot in shots):
            share = 100 * np.mean([(shot.mask == 1).mean() for shot in shots])
            found.append(f'The masks of "{name}" cover {share:.0f} % of the pictures and most of their borders. If '
                         'they are inverted, exchange object and background (--invert).')
        files = [shot.mask_name for shot in shots if shot.mask_name is not None]
        painted = [file for file in files if _is_colourful(file)]
        if painted:
            found.append(f'The mask {painted[0]} has as many colours as a photograph. A mask is black except for the '
                         'object: save the object alone, not the picture with the object painted on it.')
    return found


def training_warnings(trained_on: Optional[Mapping[str, Any]],
                      classes: Mapping[str, Sequence[SupportShot]]) -> List[str]:
    """Tell whether most supports are unlike all pictures that the model was trained on.

    Args:
        trained_on (Mapping, optional): ``dataset`` and ``statistics`` of a checkpoint, see
            :class:`TrainingPicturesHook`; None for a model without such a record, which gives no warning.
        classes (Mapping[str, Sequence[SupportShot]]): The supports by class name.

    Returns:
        list[str]: A sentence, or nothing.
    """
    pictures = [shot.network_image for shots in classes.values() for shot in shots]
    strange = [] if trained_on is None else unlike_training(trained_on['statistics'], pictures)
    if 2 * sum(strange) <= len(pictures):
        return []
    return [f'The model was trained on pictures of {trained_on["dataset"]}, and {sum(strange)} of {len(pictures)} '
            'examples differ in color, contrast or detail from all of them: expect poor masks. The default model needs '
            'no training and takes any photograph.']


def _looks_inverted(mask: np.ndarray) -> bool:
    return border_share(mask) > 0.5 and mask.mean() > 0.5


def _is_colourful(path: str) -> bool:
    """Check whether a mask file has as many colours as a photograph."""
    if not Path(path).is_file():
        return False
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return False
    step = max(1, round((picture.shape[0] * picture.shape[1] / 250_000)**0.5))
    colours = picture[::step, ::step].reshape(-1, 3).astype(np.int32) >> 4
    return len(np.unique(colours @ (256, 16, 1))) > _COLOURS


def draw_supports(classes: Mapping[str, Sequence[SupportShot]]) -> np.ndarray:
    """Draw every support with its mask as it was read, one row for each class.

    Args:
        classes (Mapping[str, Sequence[SupportShot]]): The supports by class name.

    Returns:
        np.ndarray: The picture, (H, W, 3) uint8 RGB.
    """
    return tile_images([
        [_tile(shot, way, f'{name} {number}: {100 * (shot.mask == 1).mean():.1f} %')
         for number, shot in enumerate(shots, start=1)]
        for way, (name, shots) in enumerate(classes.items(), start=1)
    ])


def _tile(shot: SupportShot, way: int, caption: str) -> np.ndarray:
    height, width = shot.mask.shape
    scale = _TILE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = cv2.resize(shot.image, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(shot.mask, size, interpolation=cv2.INTER_NEAREST)
    return caption_image(overlay_mask(image[..., ::-1], np.where(mask == 1, way, mask)), caption)
