"""Sources of pushed prototypes: boxes, pictures and a record of each."""
import json
import os
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np
from numpy import ndarray
from PIL import Image

from mmfss.datasets.images import read_image
from mmfss.models import PrototypeHead
from mmfss.utils.config_options import ConfigError
from mmfss.visualization.prototype_pictures import Box

PUSHED, PROVENANCE = 'pushed.pth', 'prototypes.json'


class PrototypeSources:
    """Read the sources of a model's prototypes from the ``prototypes.json`` of a push.

    Args:
        path (str | Path): The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'The sources of prototypes "{path}" do not exist; tools/push_prototypes.py writes '
                                    'them.')
        try:
            self.records = list(json.loads(self.path.read_text(encoding='utf-8'))['prototypes'])
            known = all({'index', 'image', 'cell', 'activation_box'} <= set(record) for record in self.records)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'The file "{path}" holds no sources of prototypes: {type(error).__name__}: '
                             f'{error}') from error
        if not known or [record['index'] for record in self.records] != list(range(len(self.records))):
            raise ValueError(f'The file "{path}" holds no complete list of sources of prototypes.')

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, prototype: int) -> dict[str, Any]:
        return self.records[prototype]

    def check(self, head: PrototypeHead) -> None:
        """Check that these are the sources of a model's prototypes; drop those of pruned prototypes.

        Args:
            head (PrototypeHead): Its head.

        Raises:
            ValueError: If they are another model's.
        """
        kept, wanted = [], head.proto_source.tolist()
        for record in self.records:  # Pruning keeps the order.
            place = len(kept)
            if place < len(wanted) and [record['image_index'], *record['cell'], record['scale']] == wanted[place]:
                kept.append(dict(record, index=place))
        if len(kept) < len(wanted):
            raise ValueError(f'The sources "{self.path}" ({len(self)} prototypes) are not those of the model '
                             f'({head.num_prototypes} prototypes).')
        self.records = kept

    def image(self, prototype: int) -> ndarray:
        """Load the source image of a prototype, (H, W, 3) uint8 RGB.

        Raises:
            FileNotFoundError: If it is not where it was at the time of the push.
        """
        path = self[prototype]['image']
        if path is None or not Path(path).is_file():
            raise FileNotFoundError(f'The source image "{path}" of prototype {prototype} does not exist, which '
                                    f'"{self.path}" names. Was the data moved since the push?')
        image = read_image(path, 'color' if self[prototype].get('upright') else 'color_ignore_orientation')
        return np.ascontiguousarray(image[..., ::-1])

    def patch(self, prototype: int) -> ndarray:
        """Crop the activated part of a prototype's source image, (h, w, 3) uint8 RGB.

        The picture that the push has drawn, or cut from the source image where none was drawn.

        Raises:
            FileNotFoundError: If it is missing.
        """
        drawn = self[prototype].get('files', {}).get('patch')
        if drawn is None:
            return Box(*self[prototype]['activation_box']).crop(self.image(prototype))
        path = self.path.parent / drawn
        if not path.is_file():
            raise FileNotFoundError(f'The picture "{path}" of prototype {prototype} does not exist; its source image '
                                    f'is "{self[prototype]["image"]}".')
        with Image.open(path) as image:
            return np.array(image.convert('RGB'))


def source_places(*checkpoints: Optional[str]) -> list[str]:
    """List the possible places of a model's ``prototypes.json``.

    A push writes it to the folder of its phase, ``<work dir>/<config>/<phase>``. So it is looked for beside a
    checkpoint, in the folders of the other phases, and in those of the other configs of the same working directory.

    Args:
        *checkpoints (str, optional): The model's checkpoint, and others that it may have been trained from.

    Returns:
        list[str]: The file beside each checkpoint, whether it is there or not; then others that are there, the nearest
        first.
    """
    folders = [Path(checkpoint).absolute().parent for checkpoint in checkpoints if checkpoint]
    places = [folder / PROVENANCE for folder in folders]
    for folder in folders:
        for parent, pattern in ((folder.parent, '*'), (folder.parent.parent, '*/*')):
            places += sorted(parent.glob(f'{pattern}/{PROVENANCE}'))
    return list(dict.fromkeys(map(str, places)))


def find_sources(head: PrototypeHead, places: Sequence[str]) -> Optional[PrototypeSources]:
    """Find the sources of a model's prototypes.

    Args:
        head (PrototypeHead): The head, with its weights.
        places (Sequence[str]): Files to try: the first one that is there and is of this model counts.

    Returns:
        PrototypeSources, optional: None for prototypes that were never pushed.

    Raises:
        ConfigError: If there is no such file, or only those of other models.
    """
    if bool((head.proto_source < 0).all()):
        return None
    # The first file that belongs to this model
    refused = []
    for place in filter(os.path.isfile, places):
        try:
            sources = PrototypeSources(place)
            sources.check(head)
            return sources
        except ValueError as error:
            refused.append(str(error))
    found = ' '.join(refused) or ('The sources of the prototypes are not there (looked for: '
                                  f'{", ".join(map(str, places))}).')
    raise ConfigError(f'{found} Name the prototypes.json that the push of this model has written with --sources '
                      '(test_cfg.sources).')
