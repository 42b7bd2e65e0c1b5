"""Recognition and reading of annotation files."""
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Optional, Tuple, Union

import numpy as np

from .coco import is_coco, open_coco
from .labelme import is_labelme, read_labelme
from .objects import PictureObjects
from .yolo import read_yolo

_FORMATS = 'LabelMe JSON, COCO JSON (from CVAT, Label Studio and others) and YOLO polygons are read.'


def read_annotated_mask(path: Union[str, Path],
                        image: Optional[Union[str, Path]],
                        size: Tuple[int, int],
                        label: Optional[str] = None) -> np.ndarray:
    """Read the mask of one class from a file of an annotation program.

    LabelMe JSON and YOLO text files describe one picture, COCO JSON files many. Annotation programs show pictures
    upright, so that the coordinates are those of the upright picture.

    Args:
        path (str | Path): The annotation file.
        image (str | Path, optional): The picture; a COCO file is searched for its name.
        size (tuple[int, int]): Height and width of the picture.
        label (str, optional): Class name; may be left out if the picture has objects of a single class.

    Returns:
        np.ndarray: (H, W) uint8; 1 object, 0 background, 255 ignored (crowd regions of COCO files).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is of an unknown format, describes another picture, or a shape has no area.

    Example:
        >>> import json, tempfile
        >>> from mmfss.datasets.annotations import read_annotated_mask
        >>> mug = dict(label='mug', shape_type='rectangle', points=[[1, 0], [3, 2]])
        >>> with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
        ...     json.dump(dict(shapes=[mug], imageHeight=2, imageWidth=4), file)
        ...     file.flush()
        ...     read_annotated_mask(file.name, None, (2, 4)).tolist()
        [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    objects = read_picture_objects(path, image, size)
    if objects.size != tuple(size):
        turned = ' The picture is turned by its EXIF orientation.' if objects.size == tuple(size)[::-1] else ''
        raise ValueError(f'{path} describes a picture of {objects.size[1]} x {objects.size[0]} pixels, '
                         f'{image or "the image"} has {size[1]} x {size[0]}.{turned}')
    return objects.mask(label)


def read_picture_objects(path: Union[str, Path], image: Optional[Union[str, Path]],
                         size: Tuple[int, int]) -> PictureObjects:
    """Read all objects of a picture; arguments and errors as of :func:`read_annotated_mask`."""
    path = Path(path)
    if path.suffix.lower() == '.txt':
        if not path.is_file():
            raise FileNotFoundError(f'The annotation file "{path}" does not exist.')
        return read_yolo(path, size)
    content = read_json(path)
    if is_labelme(content):
        return read_labelme(content, str(path), size)
    if is_coco(content):
        if image is None:
            raise ValueError(f'{path} is a COCO file, which is searched for the name of a picture: give the picture as '
                             'a file, not as an array.')
        coco = open_coco(str(path))
        return coco.of(coco.find(Path(image)))
    raise ValueError(f'{path} is of no known format{_guess(content)}. {_FORMATS}')


def read_json(path: Path) -> Any:
    """Parse a JSON file, once as long as it does not change.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f'The annotation file "{path}" does not exist.')
    state = path.stat()
    return _parse(str(path), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _parse(path: str, changed: int, size: int) -> Any:
    content = Path(path).read_bytes()
    try:
        return json.loads(content.decode(json.detect_encoding(content)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'The annotation file {path} is not JSON: {error}') from error


def _guess(content: Any) -> str:
    """Name a known program whose file this seems to be, and what to export instead."""
    if isinstance(content, list) and content and isinstance(content[0], dict) and 'annotations' in content[0]:
        return ': it looks like the own format of Label Studio, which also exports COCO'
    if isinstance(content, dict) and '_via_img_metadata' in content:
        return ': it looks like the own format of the VGG Image Annotator, which also exports COCO'
    if isinstance(content, dict) and 'annotations' in content:
        return ': a COCO file has "images", "annotations" and "categories"'
    return ''
