"""Panel of an explained episode: the prediction, and the attribution of each explainer."""
from typing import Mapping, Optional, Sequence, Union

import cv2
import numpy as np

from .fonts import wrap_text
from .heatmap import colour_bar, draw_outline, overlay_heat, scale_heat
from .overlay import badge, caption_image, class_palette, legend_strip, overlay_mask, tile_images

_GAP = 8
_BAR = (160, 12)

Shots = Sequence[np.ndarray]


def draw_attributions(query: np.ndarray,
                      prediction: np.ndarray,
                      region: Optional[np.ndarray],
                      supports: Sequence[Shots],
                      support_masks: Sequence[Shots],
                      attributions: Mapping[str, Sequence[Optional[Shots]]],
                      class_names: Sequence[str],
                      target: Optional[np.ndarray] = None,
                      neutral: Optional[Mapping[str, Sequence[float]]] = None,
                      query_caption: str = 'prediction',
                      tile_side: int = 240,
                      ignore_index: int = 255,
                      notes: Sequence[str] = ()) -> np.ndarray:
    """Draw an explained N-way K-shot episode as one panel.

    The first row shows the query, with the truth (if known) and with the prediction, whose explained region is outlined
    in white. Then follows, for each class and shot, a row of the support with its mask and of its attribution by each
    explainer, with the mask outlined. The shots of a class share one colour scale, so brighter means more across them;
    maps of different explainers or classes do not compare in value. Pictures are brought to a common longer side.

    Args:
        query (np.ndarray): Shape (h, w, 3), uint8 RGB.
        prediction (np.ndarray): Labels 0..N, shape (h, w).
        region (np.ndarray, optional): What is explained, boolean, (h, w) or (N, h, w).
        supports (Sequence[Sequence[np.ndarray]]): N lists of K images, each (H, W, 3) uint8 RGB.
        support_masks (Sequence[Sequence[np.ndarray]]): N lists of K masks (H, W); 1 class, 0 elsewhere, 255 ignored.
        attributions (Mapping[str, Sequence[Sequence[np.ndarray]]]): By explainer, N lists of K maps (H, W), or an array
            (N, K, H, W), of any range; None in place of the maps of a class that is not explained.
        class_names (Sequence[str]): N names.
        target (np.ndarray, optional): Labels 0..N or ``ignore_index``, shape (h, w).
        neutral (Mapping[str, Sequence[float]], optional): For explainers with signed maps, the value of each class that
            means no contribution; they are drawn blue (against) to red (for) around it.
        query_caption (str): Caption of the prediction.
        tile_side (int): Longer side of every picture, in pixels.
        ignore_index (int): Label of ignored pixels.
        notes (Sequence[str]): Sentences below the pictures.

    Returns:
        np.ndarray: The panel, uint8 RGB.

    Raises:
        ValueError: If the number of classes or shots of a map differs from that of the supports.
    """
    neutral = neutral or {}
    for name, maps in attributions.items():
        _check_count(name, maps, supports)
    rows = [_query_row(query, prediction, region, target, class_names, query_caption, tile_side, ignore_index)]
    for way, name in enumerate(class_names):
        rows += _class_rows(way, name, supports[way], support_masks[way],
                            {key: (maps[way], neutral[key][way] if key in neutral else None)
                             for key, maps in attributions.items()}, tile_side, ignore_index)
    signed = [name in neutral for name in attributions]
    legend = _legend(any(signed), not all(signed), region is not None)
    width = max(legend.shape[1], *(sum(image.shape[1] for image in row) for row in rows))
    rows += [[legend_strip([line])] for note in notes for line in wrap_text(note, width)]
    rows.append([legend])
    return tile_images(rows, _GAP)


def _check_count(name: str, maps: Sequence[Optional[Shots]], supports: Sequence[Shots]) -> None:
    counts, expected = [None if shots is None else len(shots) for shots in maps], [len(shots) for shots in supports]
    if len(counts) != len(expected) or any(count not in (None, number) for count, number in zip(counts, expected)):
        raise ValueError(f'The attributions of "{name}" are for {counts} supports per class, the episode has '
                         f'{expected}.')


def _query_row(query: np.ndarray, prediction: np.ndarray, region: Optional[np.ndarray], target: Optional[np.ndarray],
               class_names: Sequence[str], caption: str, side: int, ignore_index: int) -> list[np.ndarray]:
    image = fit(query, side)
    tiles = [caption_image(image, 'query')]
    if target is not None:
        truth = overlay_mask(image, fit_labels(target, image), ignore_index=ignore_index)
        tiles.append(caption_image(truth, f'truth: {", ".join(class_names)}'))
    predicted = overlay_mask(image, fit_labels(prediction, image), ignore_index=ignore_index)
    for mask in () if region is None else np.asarray(region).reshape(-1, *np.shape(region)[-2:]):
        predicted = draw_outline(predicted, mask)
    return [*tiles, caption_image(predicted, caption)]


def _class_rows(way: int, name: str, images: Shots, masks: Shots,
                maps: Mapping[str, tuple[Optional[Shots], Optional[float]]], side: int,
                ignore_index: int) -> list[list[np.ndarray]]:
    colour = class_palette(way + 1)[way + 1]
    rows = []
    heats = {key: _scaled(values, level) for key, (values, level) in maps.items() if values is not None}
    for shot, (support, mask) in enumerate(zip(images, masks)):
        image = fit(support, side)
        labels = fit_labels(np.where(np.asarray(mask) == 1, way + 1, mask), image)
        # Support, then a heat map of each explainer
        tiles = [overlay_mask(image, labels, alpha=0.3, ignore_index=ignore_index)]
        for key, heat in heats.items():
            drawn = overlay_heat(image, heat[shot], signed=maps[key][1] is not None)
            tiles.append(draw_outline(drawn, np.asarray(mask) == 1))
        if len(images) > 1:
            tiles[0] = badge(tiles[0], str(shot + 1), colour)
        if shot == 0:
            title = f'{"supports" if len(images) > 1 else "support"}: {name}'
            if maps and not heats:
                title = f'{name}: nothing to explain'
            tiles = [caption_image(tile, text) for tile, text in zip(tiles, (title, *heats))]
        rows.append(tiles)
    return rows


def _scaled(maps: Shots, neutral: Optional[float]) -> list[np.ndarray]:
    """Scale the shots of a class together; their sizes may differ."""
    maps = [np.asarray(shot, dtype=np.float32) for shot in maps]
    flat = scale_heat(np.concatenate([shot.ravel() for shot in maps]), neutral)
    ends = np.cumsum([shot.size for shot in maps])[:-1]
    return [part.reshape(shot.shape) for part, shot in zip(np.split(flat, ends), maps)]


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """Resize an image (H, W, 3) so that its longer side is ``side``."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def fit_labels(labels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Resize labels (H, W) to an image's size, nearest neighbour."""
    size = image.shape[1::-1]
    return cv2.resize(np.asarray(labels).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)


def _legend(signed: bool, sequential: bool, outlined: bool) -> np.ndarray:
    """Draw a strip that explains the colours and lines."""
    entries = [(colour_bar(*_BAR, signed=False), 'least', 'most, over the shots of a class')] if sequential else []
    if signed:
        entries.append((colour_bar(*_BAR, signed=True), 'against', 'for (transparent: no contribution)'))
    parts: list[Union[str, np.ndarray]] = []
    for bar, low, high in entries:
        parts += [low, bar, high]
    return legend_strip([*parts, 'white line: support mask' + (', explained region of the query' if outlined else '')])
