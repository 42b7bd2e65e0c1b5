"""Support sets in folders: pictures with masks, or with the files of an annotation program."""
from pathlib import Path
from typing import Dict, List, Sequence, Tuple, Union

from mmfss.datasets.annotations import ANNOTATION_SUFFIXES, read_picture_objects
from mmfss.datasets.annotations.coco import is_coco, open_coco
from mmfss.datasets.annotations.reading import read_json
from mmfss.datasets.class_indices.folders import IMAGE_SUFFIXES, MASK_SUFFIXES, OTHER_MASK_SUFFIXES, files_by_stem
from mmfss.datasets.images import read_image, stored_size
from mmfss.utils.names import few, list_names

Pairs = List[Tuple[str, str]]

LAYOUTS = ('images/ and masks/ with files of equal names; such a pair of folders in a folder of each class; pictures '
           'with LabelMe files beside them; images/ and labels/ (YOLO polygons); pictures and one COCO file')


def find_support(folder: Union[str, Path], classes: Sequence[str] = ()) -> Dict[str, Pairs]:
    """Find the pictures and masks of a support set in a folder.

    Layouts: ``images/`` and ``masks/`` with files of equal names (one class, "object"); such a pair of folders in a
    folder of each class; pictures with LabelMe files of equal names beside them; ``images/`` and ``labels/`` with YOLO
    polygons; pictures and one COCO file.

    Args:
        folder (str | Path): The folder.
        classes (Sequence[str]): Classes to take. All by default, but annotation files with several classes need a
            choice. Of a folder of one unnamed class, a single one is its name.

    Returns:
        dict[str, list[tuple[str, str]]]: Pairs of picture and mask (or annotation file) by class name, as
        :meth:`FewShotInferencer.set_support` takes them.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it has none of the layouts, or a class is not there.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mmfss.apis import find_support
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for file in ('mug/images/1.jpg', 'mug/masks/1.png'):
        ...         (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
        ...         (Path(folder) / file).touch()
        ...     support = find_support(folder)
        >>> [Path(path).name for path in support['mug'][0]]
        ['1.jpg', '1.png']
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f'The folder of examples "{root}" does not exist.')
    found = _masks(root) or _class_folders(root) or _annotated(root, classes)
    if not found:
        raise ValueError(f'"{root}" holds no examples. It may have: {LAYOUTS}.')
    if list(found) == ['object'] and len(classes) == 1:
        return {classes[0]: found['object']}
    missing = [name for name in classes if name not in found]
    if missing:
        raise ValueError(f'"{root}" has no examples of {few(missing)}. It has {few(found)}.')
    return {name: found[name] for name in classes} if classes else found


def _masks(root: Path) -> Dict[str, Pairs]:
    """Pair the files of ``images`` and ``masks``."""
    if not (root / 'images').is_dir() or not (root / 'masks').is_dir():
        return {}
    images = _files(root / 'images', IMAGE_SUFFIXES)
    masks = _files(root / 'masks', MASK_SUFFIXES + OTHER_MASK_SUFFIXES + ANNOTATION_SUFFIXES)
    lonely = [path.name for stem, path in masks.items() if stem not in images]
    if lonely:
        raise ValueError(f'"{root / "masks"}" has {few(lonely)}, but "images" has no picture of that name.')
    pairs = [(str(images[stem]), str(masks[stem])) for stem in masks]
    if not pairs:
        raise ValueError(f'"{root / "masks"}" holds no mask.')
    return dict(object=pairs)


def _class_folders(root: Path) -> Dict[str, Pairs]:
    found = {}
    for name, real in list_names(str(root), folders=True).items():
        pairs = _masks(root / real)
        if pairs:
            found[name] = pairs['object']
    return found


def _annotated(root: Path, classes: Sequence[str]) -> Dict[str, Pairs]:
    """Find pictures that are described by annotation files."""
    pictures = {place: _files(place, IMAGE_SUFFIXES) for place in (root, root / 'images') if place.is_dir()}
    files = {place: _files(place, ('.json', ))
             for place in (root, root / 'annotations', root / 'images') if place.is_dir()}
    collections = [file for place in files.values() for file in place.values() if is_coco(read_json(file))]
    if len(collections) > 1:
        raise ValueError(f'"{root}" holds several COCO files: {few(file.name for file in collections)}. Keep one.')
    if collections:
        return _from_coco(collections[0], pictures, classes)
    if (root / 'labels').is_dir():
        files = {root / 'labels': _files(root / 'labels', ('.txt', ))}
    described = {stem: file for place in files.values() for stem, file in place.items()}
    pairs = [(str(image), str(described[stem])) for place in pictures.values() for stem, image in place.items()
             if stem in described]
    if not pairs:
        return {}
    labels = {}
    for image, file in pairs:
        # Only the names count here, so that the header of the picture is enough.
        size = stored_size(image) or read_image(image).shape[:2]
        labels[image] = set(read_picture_objects(file, image, size).labels)
    return _by_class(pairs, labels, classes, root)


def _from_coco(file: Path, pictures: Dict[Path, Dict[str, Path]], classes: Sequence[str]) -> Dict[str, Pairs]:
    coco = open_coco(str(file))
    pairs, labels = [], {}
    for image in coco.images:
        known = set(coco.labels_of(image))
        if not known:
            continue
        names = (image['name'], Path(image['name']).name)
        place = next((place / name for name in names for place in pictures if (place / name).is_file()), None)
        if place is None:
            raise ValueError(f'{file} lists {image["name"]}, which is not in {few(map(str, pictures))}.')
        pairs.append((str(place), str(file)))
        labels[str(place)] = known
    return _by_class(pairs, labels, classes, file)


def _by_class(pairs: Pairs, labels: Dict[str, set], classes: Sequence[str], where: Path) -> Dict[str, Pairs]:
    known = sorted(set().union(*labels.values()))
    if len(known) > 1 and not classes:
        raise ValueError(f'"{where}" has objects of the classes {few(known)}: choose one or several (--class).')
    found = {name: [pair for pair in pairs if name in labels[pair[0]]] for name in known}
    return {name: pairs for name, pairs in found.items() if pairs}


def _files(folder: Path, suffixes: Tuple[str, ...]) -> Dict[str, Path]:
    return {stem: folder / name for stem, name in files_by_stem(str(folder), suffixes).items()}
