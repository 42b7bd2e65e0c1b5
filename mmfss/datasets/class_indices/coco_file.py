"""Reading, validation and normalization of COCO files."""
import json
import os
import posixpath
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set, Tuple
from urllib.parse import unquote, urlsplit

from .coco_shapes import Fault, code_fault, code_totals, shape_fault, shown

KEYS = ('images', 'annotations', 'categories')
MAX_SIDE = 65_535  # of a picture, pixels: that of JPEG
MAX_AREA = 2**31 - 1  # of a picture, pixels: that of run-length codes
NAMED_FAULTS = 3
_CHUNK = 512  # annotations whose compressed codes are checked together, in the cache of the processor


def load_coco(path: str, img_dir: str = '') -> Dict[str, Any]:
    """Read a COCO file: :func:`read_coco_json`, :func:`validate_coco` and :func:`normalize_coco`.

    Args:
        path (str): The file.
        img_dir (str): Folder of its images, the first part of their names.

    Returns:
        dict: See :func:`normalize_coco`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file or one of its entries is unusable.
    """
    content = read_coco_json(path)
    validate_coco(content, path)
    return normalize_coco(content, img_dir)


def read_coco_json(path: str) -> Any:
    """Parse a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'The COCO annotation file "{path}" does not exist (ann_file).')
    with open(path, 'rb') as file:
        encoding = json.detect_encoding(file.read(4))
    try:
        with open(path, encoding=encoding) as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'The COCO annotation file {path} is not JSON: {error}. If it is compressed, unpack it; if it '
                         'is cut off, copy it again.') from error


def validate_coco(content: Any, file: str) -> None:
    """Check that a COCO instances file can be used as it is.

    Reads the whole file once and changes nothing; about a quarter of the time that parsing and rasterizing take.

    Refused: entries without a usable ``id``, name, size or reference; ids, file names or category names given twice
    (except ids of annotations, which nothing refers to); segmentations that the picture cannot hold, see
    :func:`~mmfss.datasets.class_indices.coco_shapes.shape_fault`. LVIS names its pictures by ``coco_url`` alone: that
    is accepted if no image has a ``file_name``. Keys that nothing here reads may hold anything.

    Args:
        content (Any): The file, as parsed from JSON.
        file (str): Its path, for the message.

    Raises:
        ValueError: In one line: the file, the first faulty entries with their keys, how many there are, and the cure.

    Example:
        >>> image = dict(id=1, file_name='a.jpg', width=8)
        >>> validate_coco(dict(images=[image], annotations=[], categories=[]), 'a.json')
        Traceback (most recent call last):
        ValueError: a.json: image 1 has no "height". It is the side of the picture in whole pixels, 1 to 65535.
    """
    if not isinstance(content, dict):
        raise ValueError(f'The file {file} is not a COCO instances file: it holds {shown(content)}, not an object with '
                         f'{", ".join(KEYS)}.')
    missing = [key for key in KEYS if key not in content]
    if missing:
        raise ValueError(f'The file {file} is not a COCO instances file: it has no {missing}.')
    wrong = [f'"{key}" is {shown(content[key])}' for key in KEYS if not isinstance(content[key], list)]
    if wrong:
        raise ValueError(f'The file {file} is not a COCO instances file: {", ".join(wrong)}, not a list.')
    images, annotations, categories = (content[key] for key in KEYS)
    _raise_first(file, [*_image_faults(images), *_category_faults(categories)])
    _raise_first(file, _annotation_faults(annotations, images, categories))


def normalize_coco(content: Dict[str, Any], img_dir: str = '') -> Dict[str, Any]:
    """Bring a validated COCO or LVIS file into one form.

    Args:
        content (dict): The file.
        img_dir (str): Folder of the images, the first part of their names. Where ``coco_url`` tells the folder of each
            picture (LVIS), that one takes the place of the last folder here: its images lie in both
            ``train2017`` and ``val2017``.

    Returns:
        dict: ``images`` (``id``, ``name``, ``height``, ``width``), ``categories`` (``id``, ``name``) sorted by id,
        ``annotations`` as they are, ``img_dir``, the folder that all names are below, and ``by_url``, whether pictures
        are named by ``coco_url``.
    """
    images = content['images']
    by_url = _named_by_url(images)
    prefix = common_folder(img_dir, by_url)

    def name(image: Dict[str, Any]) -> str:
        file_name = _url_name(image['coco_url']) if by_url else image['file_name']
        return f'{prefix}/{file_name}' if prefix else file_name

    return dict(
        images=[dict(id=image['id'], name=name(image), height=int(image['height']), width=int(image['width']))
                for image in images],
        annotations=content['annotations'],
        categories=sorted((dict(id=entry['id'], name=entry['name']) for entry in content['categories']),
                          key=lambda entry: entry['id']),
        img_dir=prefix,
        by_url=by_url)


def common_folder(img_dir: str, by_url: bool) -> str:
    """Return the folder that all names are below; see :func:`normalize_coco`."""
    return posixpath.dirname(img_dir.strip('/')) if by_url else img_dir.strip('/')


def _named_by_url(images: List[Any]) -> bool:
    """Whether pictures are named by their address alone, as in LVIS."""
    entries = [image for image in images if isinstance(image, dict)]
    return any('coco_url' in image for image in entries) and all(image.get('file_name') is None for image in entries)


def _url_name(url: str) -> str:
    """Return the last folder and the file of an address."""
    return '/'.join(unquote(urlsplit(url).path).strip('/').split('/')[-2:])


def _raise_first(file: str, faults: Iterable[Fault]) -> None:
    first: List[Fault] = []
    count = 0
    for count, fault in enumerate(faults, start=1):
        if count <= NAMED_FAULTS:
            first.append(fault)
    if first:
        number = f' ({NAMED_FAULTS} of {count} faults)' if count > NAMED_FAULTS else ''
        cures = ' '.join(dict.fromkeys(fault.cure for fault in first))
        raise ValueError(f'{file}: {"; ".join(fault.text for fault in first)}{number}. {cures}')


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and '\0' not in value


def _is_id(value: Any) -> bool:
    return _is_number(value) or _is_text(value)


def _is_side(value: Any) -> bool:
    return _is_number(value) and 1 <= value <= MAX_SIDE


def _is_url(value: Any) -> bool:
    try:
        return _is_text(value) and _is_text(_url_name(value))
    except ValueError:  # e.g. of an address with half of a bracketed host
        return False


_Key = Tuple[str, Callable[[Any], bool], str]  # its name, what makes a value usable, the cure
_ID: _Key = ('id', _is_id, 'It is a whole number, or text that is not empty.')
_TEXT = 'It is text that is not empty.'
_SIDE = f'It is the side of the picture in whole pixels, 1 to {MAX_SIDE}.'
_CATEGORY_KEYS = (_ID, ('name', _is_text, _TEXT))
_FILE_NAME = ('file_name', _is_text, 'It is the path of the picture below the folder of the images.')
_COCO_URL = ('coco_url', _is_url, 'Without a "file_name" it is the address that tells folder and file of the picture.')
_SIDES = (('height', _is_side, _SIDE), ('width', _is_side, _SIDE))


def _key_faults(kind: str, entries: List[Any], keys: Iterable[_Key]) -> Iterator[Fault]:
    """Find the faults of the values of entries, each by itself."""
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            yield Fault(f'{kind} entry {place} is {shown(entry)}', 'Entries are objects with keys.')
            continue
        for key, is_usable, cure in keys:
            if not is_usable(entry.get(key)):
                yield Fault(_key_text(kind, place, entry, key), cure)


def _key_text(kind: str, place: int, entry: Dict[str, Any], key: str) -> str:
    known = entry.get('id')
    who = f'{kind} {shown(known)}' if key != 'id' and _is_id(known) else f'{kind} entry {place}'
    return f'{who} has "{key}" {shown(entry[key])}' if key in entry else f'{who} has no "{key}"'


def _image_faults(images: List[Any]) -> List[Fault]:
    by_url = _named_by_url(images)
    naming = _COCO_URL if by_url else _FILE_NAME
    faults = list(_key_faults('image', images, (_ID, naming, *_SIDES)))
    if faults:
        return faults

    def name(image: Dict[str, Any]) -> str:
        return _url_name(image['coco_url']) if by_url else posixpath.normpath(image['file_name'])

    return [
        *(Fault(f'image {shown(image["id"])} has "height" {image["height"]} and "width" {image["width"]}',
                f'A picture has at most {MAX_AREA} pixels.')
          for image in images if image['height'] * image['width'] > MAX_AREA),
        *_repeated([(image['id'], name(image)) for image in images], 'image id {} is given twice, to "{}" and "{}"',
                   'Give every picture an id of its own: renumber one of two files before they are joined.'),
        *_repeated([(name(image), image['id']) for image in images],
                   naming[0] + ' "{}" is given twice, to image ids {} and {}',
                   'Keep one entry for each picture, and let all its annotations name that.'),
    ]


def _category_faults(categories: List[Any]) -> List[Fault]:
    faults = list(_key_faults('category', categories, _CATEGORY_KEYS))
    if faults:
        return faults
    kinds = {isinstance(category['id'], str) for category in categories}
    mixed = [Fault('some category ids are text and some are numbers', 'Write all of them as numbers.')]
    return [
        *(mixed if len(kinds) > 1 else []),
        *_repeated([(category['id'], category['name']) for category in categories],
                   'category id {} is given twice, to "{}" and "{}"', 'Give every category an id of its own.'),
        *_repeated([(category['name'].strip(), category['id']) for category in categories],
                   'category name "{}" is given twice, to ids {} and {}',
                   'Unite the two under one id, or give them different names.'),
    ]


def _repeated(pairs: List[Tuple[Any, Any]], text: str, cure: str) -> Iterator[Fault]:
    first: Dict[Any, Any] = {}
    for key, owner in pairs:
        if key in first:
            yield Fault(text.format(key, first[key], owner), cure)
        else:
            first[key] = owner


def _annotation_faults(annotations: List[Any], images: List[Dict], categories: List[Dict]) -> Iterator[Fault]:
    sizes = {image['id']: (int(image['height']), int(image['width'])) for image in images}
    category_ids = {category['id'] for category in categories}
    for start in range(0, len(annotations), _CHUNK):
        chunk = annotations[start:start + _CHUNK]
        faults: Dict[int, Fault] = {}
        codes: Dict[int, bytes] = {}
        # Check references and outlines; collect compressed codes
        for place, annotation in enumerate(chunk):
            fault = _reference_fault(annotation, start + place, sizes, category_ids)
            if fault is not None:
                faults[place] = fault
                continue
            shape = annotation.get('segmentation')
            fault = shape_fault(shape, *sizes[annotation['image_id']])
            if fault is not None:
                faults[place] = fault._replace(text=f'{_name(annotation, start + place)} {fault.text}')
            elif isinstance(shape, dict) and not isinstance(shape['counts'], list):
                codes[place] = _code(shape['counts'])
        # Check the codes, many at once
        for place, total in zip(codes, code_totals(list(codes.values())).tolist()):
            fault = code_fault(total, *sizes[chunk[place]['image_id']])
            if fault is not None:
                faults[place] = fault._replace(text=f'{_name(chunk[place], start + place)} {fault.text}')
        yield from (faults[place] for place in sorted(faults))


def _name(annotation: Dict[str, Any], place: int) -> str:
    return f'annotation {shown(annotation["id"])}' if 'id' in annotation else f'annotation entry {place}'


def _code(counts: Any) -> bytes:
    return counts.encode('utf-8', 'surrogatepass') if isinstance(counts, str) else counts


def _reference_fault(annotation: Any, place: int, sizes: Dict[Any, Any], category_ids: Set[Any]) -> Optional[Fault]:
    """Find a fault of an annotation apart from its segmentation."""
    if not isinstance(annotation, dict):
        return Fault(f'annotation entry {place} is {shown(annotation)}', 'Entries are objects with keys.')
    for key, known, kind in (('image_id', sizes, 'an image'), ('category_id', category_ids, 'a category')):
        value = annotation.get(key)
        if type(value) is not int and not _is_id(value):
            return Fault(_key_text('annotation', place, annotation, key), f'It is the id of {kind}.')
        if value not in known:
            return Fault(f'{_name(annotation, place)} names {kind} that is not in the file ("{key}" {shown(value)})',
                         'Add its entry or leave the annotation out; a number and its text are different ids.')
    if annotation.get('iscrowd') not in (None, 0, 1):
        return Fault(_key_text('annotation', place, annotation, 'iscrowd'), 'It is 0 or 1.')
    return None
