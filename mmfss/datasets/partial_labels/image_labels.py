"""Labels of whole images: from VOC's XML, from a CSV or JSON file, from masks."""
import csv
import io
import json
from pathlib import Path
from typing import Mapping, Sequence, Union
from xml.etree import ElementTree

import numpy as np

from mmfss.utils.files import read_text, write_text

SEPARATOR = ';'
LabelFile = dict[str, tuple[int, ...]]


def read_voc_labels(path: Union[str, Path], classes: Sequence[str]) -> tuple[int, ...]:
    """Read the classes of the objects in one file of VOC's ``Annotations``.

    Args:
        path (str | Path): The XML file.
        classes (Sequence[str]): Names of all classes.

    Returns:
        tuple[int]: Their numbers, ascending.

    Raises:
        ValueError: If the file is damaged, or names an unknown class.
    """
    text = read_text(path)
    if '<!ENTITY' in text:
        raise ValueError(f'The annotation "{path}" defines entities, as no file of VOC does; it is not read.')
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f'The annotation "{path}" is no XML file: {error}.') from error
    return _numbers([str(entry.findtext('name')) for entry in root.iter('object')], classes, path)


def read_image_labels(path: Union[str, Path], classes: Sequence[str]) -> LabelFile:
    """Read the labels of many images.

    Args:
        path (str | Path): A CSV file with the columns ``image`` and ``labels`` (names with ``;`` between them), or a
            JSON file that maps images to lists of names. An image is named by its file, with or without folder and
            suffix.
        classes (Sequence[str]): Names of all classes.

    Returns:
        dict[str, tuple[int]]: Numbers of the classes, ascending, by the stem of the image's file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has another form, names an unknown class or an image twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'The file of image labels "{path}" does not exist. '
                                'tools/dataset_converters/image_labels.py makes one from masks.')
    rows = _json_rows(path) if path.suffix.lower() == '.json' else _csv_rows(path)
    labels: LabelFile = {}
    for image, names in rows:
        stem = Path(image).stem
        if stem in labels:
            raise ValueError(f'The file of image labels "{path}" names the image "{stem}" twice.')
        labels[stem] = _numbers(names, classes, path)
    return labels


def _csv_rows(path: Path) -> list[tuple[str, list[str]]]:
    reader = csv.DictReader(io.StringIO(read_text(path)))
    if not {'image', 'labels'} <= set(reader.fieldnames or ()):
        raise ValueError(f'The file of image labels "{path}" must have the columns image,labels; it has '
                         f'{",".join(reader.fieldnames or ["none"])}.')
    return [(row['image'], [name for name in (row['labels'] or '').split(SEPARATOR) if name]) for row in reader]


def _json_rows(path: Path) -> list[tuple[str, list[str]]]:
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise ValueError(f'The file of image labels "{path}" is no JSON file: {error}.') from error
    if not isinstance(content, Mapping) or not all(isinstance(names, list) for names in content.values()):
        raise ValueError(f'The file of image labels "{path}" must map each image to a list of class names.')
    return list(content.items())


def write_image_labels(path: Union[str, Path], labels: Mapping[str, Sequence[int]], classes: Sequence[str]) -> None:
    """Write labels as :func:`read_image_labels` reads them, as CSV.

    Args:
        path (str | Path): The file.
        labels (Mapping): Numbers of the classes, by image.
        classes (Sequence[str]): Names of all classes.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['image', 'labels'])
    for image, numbers in labels.items():
        writer.writerow([image, SEPARATOR.join(classes[number] for number in numbers)])
    write_text(text.getvalue(), path)


def labels_of_map(label_map: np.ndarray, num_classes: int) -> tuple[int, ...]:
    """List the classes in a label map, ascending, without void and the background 0."""
    return tuple(int(label) for label in np.unique(label_map) if 0 < label < num_classes)


def _numbers(names: Sequence[str], classes: Sequence[str], path: Union[str, Path]) -> tuple[int, ...]:
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ValueError(f'"{path}" names the class "{unknown[0]}", which the dataset does not have. '
                         f'Its classes are {", ".join(classes)}.')
    return tuple(sorted({list(classes).index(name) for name in names}))
