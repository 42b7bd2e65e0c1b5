"""Masks on images. All images are (H, W, 3) uint8 RGB arrays; nothing is changed in place."""
import colorsys
from typing import Sequence, Union

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from .fonts import draw_text, text_length

# Okabe and Ito's colours, which colour-blind readers can tell apart, strongest on photographs first.
_COLOURS = ((213, 94, 0), (86, 180, 233), (240, 228, 66), (204, 121, 167), (0, 158, 115), (0, 114, 178), (230, 159, 0))
_IGNORED_COLOUR = (200, 200, 200)
_CAPTION_HEIGHT = 22
_STRIP_HEIGHT = 26


def to_rgb(image: Tensor) -> np.ndarray:
    """Convert an image of a dataset, BGR (3, H, W), 0 to 255, to (H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(image.cpu().numpy()[::-1].transpose(1, 2, 0)).astype(np.uint8)


def class_palette(num_classes: int) -> np.ndarray:
    """Return the colours of the labels 0..N.

    Args:
        num_classes (int): N.

    Returns:
        np.ndarray: Shape (N+1, 3), uint8 RGB; row 0, the background, is black.
    """
    more = (colorsys.hsv_to_rgb(0.618034 * index % 1, 0.75, 0.95) for index in range(num_classes - len(_COLOURS)))
    colours = [(0, 0, 0), *_COLOURS, *(tuple(round(255 * value) for value in colour) for colour in more)]
    return np.array(colours[:num_classes + 1], dtype=np.uint8)


def overlay_mask(image: np.ndarray,
                 labels: np.ndarray,
                 alpha: float = 0.45,
                 contour_width: int = 2,
                 ignore_index: int = 255) -> np.ndarray:
    """Tint every labelled region and draw its contour, inside the region.

    Args:
        image (np.ndarray): Shape (H, W, 3), uint8 RGB.
        labels (np.ndarray): Shape (H, W), integer: 0 stays as it is, n is tinted with colour n of
            :func:`class_palette`, ``ignore_index`` is tinted grey.
        alpha (float): Weight of the tint, 0 (none) to 1 (opaque).
        contour_width (int): Width of the contour in pixels; 0 for none.
        ignore_index (int): Label of ignored pixels.

    Returns:
        np.ndarray: A new image, shape (H, W, 3), uint8 RGB.

    Raises:
        ValueError: If the sizes differ.
    """
    labels = np.asarray(labels)
    if image.shape[:2] != labels.shape:
        raise ValueError(f'Image and labels must have the same size, got {image.shape[:2]} and {labels.shape}.')
    ignored = labels == ignore_index
    labels = np.where(ignored, 0, labels).astype(np.int64)
    colours = class_palette(int(labels.max(initial=0)))[labels]
    colours[ignored] = _IGNORED_COLOUR
    tinted = (labels > 0) | ignored
    result = np.where(tinted[..., None], (1 - alpha) * image + alpha * colours, image)
    contour = _contour(labels, contour_width)
    result[contour] = colours[contour]
    return result.round().astype(np.uint8)


def caption_image(image: np.ndarray, text: str) -> np.ndarray:
    """Add a caption on a white strip above the image; line breaks become spaces, long text is cut.

    Args:
        image (np.ndarray): Shape (H, W, 3), uint8 RGB.
        text (str): The caption.

    Returns:
        np.ndarray: Shape (H + strip, W, 3), uint8 RGB.
    """
    text = ' '.join(text.split())
    width = image.shape[1] - 8
    if text_length(text) > width:
        while text and text_length(text + '...') > width:
            text = text[:-1]
        text += '...'
    strip = Image.new('RGB', (image.shape[1], _CAPTION_HEIGHT), 'white')
    draw_text(ImageDraw.Draw(strip), 4, 2, text, 'black')
    return np.concatenate([np.asarray(strip), image])


def badge(image: np.ndarray, text: str, colour: Sequence[int]) -> np.ndarray:
    """Write a short text into the upper left corner, underlined in a colour.

    Args:
        image (np.ndarray): Shape (H, W, 3), uint8 RGB.
        text (str): The text.
        colour (Sequence[int]): RGB.

    Returns:
        np.ndarray: A new image of the same shape.
    """
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    width = 12 + text_length(text)
    draw.rectangle((0, 0, width, 22), fill='white')
    draw.rectangle((0, 22, width, 24), fill=tuple(int(value) for value in colour))
    draw_text(draw, 6, 2, text, 'black')
    return np.asarray(picture)


def legend_strip(parts: Sequence[Union[str, np.ndarray]]) -> np.ndarray:
    """Draw a line of texts and colour bars on white; a text before a bar stands close to it.

    Args:
        parts (Sequence[str | np.ndarray]): Texts, and bars (h, w, 3), uint8 RGB.

    Returns:
        np.ndarray: The strip, uint8 RGB.
    """
    lengths = [part.shape[1] if isinstance(part, np.ndarray) else round(text_length(part)) for part in parts]
    gaps = [8 if isinstance(part, np.ndarray) or isinstance(after, np.ndarray) else 24
            for part, after in zip(parts, [*parts[1:], None])]
    strip = Image.new('RGB', (4 + sum(lengths) + sum(gaps), _STRIP_HEIGHT), 'white')
    draw, left = ImageDraw.Draw(strip), 4
    for part, length, gap in zip(parts, lengths, gaps):
        if isinstance(part, np.ndarray):
            strip.paste(Image.fromarray(part), (left, (_STRIP_HEIGHT - len(part)) // 2))
        else:
            draw_text(draw, left, 4, part, (70, 70, 70))
        left += length + gap
    return np.asarray(strip)


def tile_images(rows: Sequence[Sequence[np.ndarray]], gap: int = 8) -> np.ndarray:
    """Arrange images in rows on a white ground.

    Args:
        rows (Sequence[Sequence[np.ndarray]]): Rows of images of any sizes, each (H, W, 3) uint8 RGB.
        gap (int): Pixels between images and around them.

    Returns:
        np.ndarray: One image, uint8 RGB.
    """
    widths = [sum(image.shape[1] + gap for image in row) + gap for row in rows]
    heights = [max(image.shape[0] for image in row) + gap for row in rows]
    canvas = np.full((sum(heights) + gap, max(widths), 3), 255, dtype=np.uint8)
    top = gap
    for row, height in zip(rows, heights):
        left = gap
        for image in row:
            canvas[top:top + image.shape[0], left:left + image.shape[1]] = image
            left += image.shape[1] + gap
        top += height
    return canvas


def _contour(labels: np.ndarray, width: int) -> np.ndarray:
    """Select labelled pixels within ``width`` steps (up, down, left, right) of another label."""
    inside = labels > 0
    core = inside
    for step in range(width):
        padded = np.pad(labels if step == 0 else core, 1, mode='edge')
        centre = padded[1:-1, 1:-1]
        neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        core = core & np.logical_and.reduce([centre == neighbour for neighbour in neighbours])
    return inside & ~core
