"""Writing predictions as pictures."""
from itertools import count
from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image

from mmfss.utils.files import atomic_path
from mmfss.visualization import class_palette, overlay_mask


class PredictionWriter:
    """Writes ``masks/<name>.png`` and ``overlays/<name>.png``, one pair per query, and ``explanations/<name>.png``.

    The name is the stem of the query's file, with a number where two queries share it, or ``query_<number>``.

    Args:
        out_dir (str | Path): Folder of the two folders.
    """

    def __init__(self, out_dir: Union[str, Path]) -> None:
        self.out_dir = Path(out_dir)
        self.used: set[str] = set()

    def __call__(self, query: Union[str, int], image: np.ndarray, mask: np.ndarray, num_classes: int) -> dict[str, str]:
        """Write one prediction.

        Args:
            query (str | int): Path or number of the query.
            image (np.ndarray): The query, (H, W, 3) uint8 BGR.
            mask (np.ndarray): The prediction, (H, W) uint8, labels 0..N; they are the indices of the palette PNG.
            num_classes (int): N.

        Returns:
            dict[str, str]: ``mask_path`` and ``overlay_path``.
        """
        name = self._name(query)
        paths = dict(mask_path=self.out_dir / 'masks' / name, overlay_path=self.out_dir / 'overlays' / name)
        indexed = Image.fromarray(mask)
        indexed.putpalette(class_palette(num_classes).flatten().tolist())
        overlay = Image.fromarray(overlay_mask(np.ascontiguousarray(image[..., ::-1]), mask))
        for path, picture in zip(paths.values(), (indexed, overlay)):
            with atomic_path(path) as temporary:
                picture.save(temporary)
        return {key: str(path) for key, path in paths.items()}

    def explanation(self, panel: np.ndarray, mask_path: Union[str, Path]) -> str:
        """Write ``explanations/<name>.png``.

        Args:
            panel (np.ndarray): The picture, (H, W, 3) uint8 RGB.
            mask_path (str | Path): ``mask_path`` of the prediction that it explains, whose name it gets.

        Returns:
            str: The file.
        """
        path = self.out_dir / 'explanations' / Path(mask_path).name
        with atomic_path(path) as temporary:
            Image.fromarray(panel).save(temporary)
        return str(path)

    def _name(self, query: Union[str, int]) -> str:
        stem = f'query_{query:05d}' if isinstance(query, int) else Path(query).stem
        candidates = (f'{stem}.png' if number == 1 else f'{stem}_{number}.png' for number in count(1))
        name = next(candidate for candidate in candidates if candidate not in self.used)
        self.used.add(name)
        return name
