"""Objects of one picture in a COCO file, as CVAT, Label Studio and others export it."""
import os
import posixpath
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List

from mmfss.utils.names import few, normal_name
from ..class_indices.coco_file import KEYS, load_coco
from ..class_indices.coco_shapes import encode_shape
from .objects import PictureObjects


def is_coco(content: Any) -> bool:
    """Check whether parsed JSON is a COCO instances file."""
    return isinstance(content, dict) and set(KEYS) <= set(content)


class CocoObjects:
    """Look up the objects of pictures in a COCO file.

    Args:
        path (str): The file.

    Raises:
        ValueError: If the file or one of its entries is unusable, see
            :func:`~mmfss.datasets.class_indices.coco_file.validate_coco`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        content = load_coco(path)
        self.class_names = {entry['id']: entry['name'] for entry in content['categories']}
        self.images: List[Dict[str, Any]] = content['images']
        self._annotations = defaultdict(list)
        for annotation in content['annotations']:
            self._annotations[annotation['image_id']].append(annotation)

    def find(self, picture: Path) -> Dict[str, Any]:
        """Find the entry of a picture by its file name, and by its folders where that is not enough.

        Raises:
            ValueError: If there is none, or several.
        """
        wanted = normal_name(picture.as_posix())
        named = [image for image in self.images
                 if posixpath.basename(normal_name(image['name'])) == posixpath.basename(wanted)]
        if len(named) > 1:
            named = [image for image in named if f'/{wanted}'.endswith(f'/{normal_name(image["name"])}')]
        if len(named) == 1:
            return named[0]
        if named:
            raise ValueError(f'{self.path} lists {picture.name} several times: {_names(named)}.')
        raise ValueError(f'{self.path} does not list the picture {picture.name}. It lists {_names(self.images)}.')

    def of(self, image: Dict[str, Any]) -> PictureObjects:
        """Return the objects of an image entry; crowd regions are ignored pixels."""
        size = (image['height'], image['width'])
        labels, codes, ignored = [], [], []
        for annotation in self._annotations[image['id']]:
            code = encode_shape(annotation['segmentation'], *size)
            if code is None:
                continue
            if annotation.get('iscrowd'):
                ignored.append(code)
                continue
            labels.append(self.class_names[annotation['category_id']])
            codes.append(code)
        return PictureObjects(self.path, size, tuple(labels), tuple(codes), tuple(ignored))

    def labels_of(self, image: Dict[str, Any]) -> List[str]:
        """Return the class names of the objects of an image entry, without drawing them."""
        return [self.class_names[annotation['category_id']] for annotation in self._annotations[image['id']]
                if not annotation.get('iscrowd')]


def _names(images: List[Dict[str, Any]]) -> str:
    return few((image['name'] for image in images), 3) or 'none'


def open_coco(path: str) -> CocoObjects:
    """Read a COCO file, once as long as it does not change."""
    state = os.stat(path)
    return _open(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _open(path: str, changed: int, size: int) -> CocoObjects:
    return CocoObjects(path)
