"""Panel of an episode: supports, query, prediction and ground truth."""
from typing import Optional, Sequence

import numpy as np

from .overlay import caption_image, overlay_mask, tile_images

MIN_TILE_SIDE = 192


def draw_episode(query: np.ndarray,
                 prediction: np.ndarray,
                 supports: Sequence[Sequence[np.ndarray]],
                 support_masks: Sequence[Sequence[np.ndarray]],
                 class_names: Sequence[str],
                 target: Optional[np.ndarray] = None,
                 query_caption: str = 'prediction',
                 ignore_index: int = 255) -> np.ndarray:
    """Draw an N-way K-shot episode as one panel.

    The query with the truth (if known) and with the prediction come first, then one row of supports per class. A 1-way
    1-shot episode is one row: support, truth, prediction. Class n has the same colour everywhere. Small images are
    enlarged by a whole factor.

    Args:
        query (np.ndarray): Shape (H, W, 3), uint8 RGB.
        prediction (np.ndarray): Labels 0..N, shape (H, W).
        supports (Sequence[Sequence[np.ndarray]]): N lists of K images, each (h, w, 3) uint8 RGB.
        support_masks (Sequence[Sequence[np.ndarray]]): N lists of K masks (h, w); 1 class, 0 elsewhere, 255 ignored.
        class_names (Sequence[str]): N names.
        target (np.ndarray, optional): Labels 0..N or ``ignore_index``, shape (H, W).
        query_caption (str): Caption of the prediction.
        ignore_index (int): Label of ignored pixels.

    Returns:
        np.ndarray: The panel, uint8 RGB.
    """
    queries = [] if target is None else [_tile(query, target, f'truth: {", ".join(class_names)}', ignore_index)]
    queries.append(_tile(query, prediction, query_caption, ignore_index))
    rows = []
    for way, (images, masks, name) in enumerate(zip(supports, support_masks, class_names), start=1):
        rows.append([
            _tile(image, np.where(np.asarray(mask) == 1, way, mask), f'support {shot}: {name}', ignore_index)
            for shot, (image, mask) in enumerate(zip(images, masks), start=1)
        ])
    if len(rows) == 1 and len(rows[0]) == 1:
        return tile_images([rows[0] + queries])
    return tile_images([queries, *rows])


def _tile(image: np.ndarray, labels: np.ndarray, caption: str, ignore_index: int) -> np.ndarray:
    factor = max(1, -(-MIN_TILE_SIDE // min(image.shape[:2])))
    image, labels = (np.asarray(array).repeat(factor, 0).repeat(factor, 1) for array in (image, labels))
    return caption_image(overlay_mask(image, labels, ignore_index=ignore_index), caption)
