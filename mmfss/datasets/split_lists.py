"""Reading and writing of the benchmarks' split lists, and recognition of published ones by checksum."""
import gzip
import hashlib
import io
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any, Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from mmfss.utils.files import atomic_path, decode_text, write_text
from mmfss.utils.names import few, normal_name, visible
from .official_lists import OFFICIAL_LISTS

PathLike = Union[str, Path]
Pairs = List[Tuple[int, str]]


class _PlainUnpickler(pickle.Unpickler):
    """Unpickle dicts, lists, strings and numbers; refuse anything that names code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f'it asks for {module}.{name}; a split list holds only dict, list, str and int')


def read_stem_list(path: str, known: Collection[str]) -> List[str]:
    """Read a text list of images by stem, one per line, as the image sets of PASCAL VOC.

    Args:
        path (str): The list file.
        known (Collection[str]): Stems of the images that exist: lines of another form are only looked for where a
            listed image does not.

    Returns:
        list[str]: The stems in file order, in composed Unicode form.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming file and line, if a line is a path, a file name or a pair of them.
    """
    stems = []
    for number, line in _lines(path):
        if line not in known and re.search(r'[\s/\\]|\.(jpe?g|png)$', line, re.IGNORECASE):
            raise ValueError(f'{path}, line {number}: a line must be the stem of one image, such as "2007_000032", '
                             f'without folder, suffix or a second column; got "{visible(line)}".')
        stems.append(line)
    return stems


def read_pascal_list(path: str, num_classes: int = 20) -> Pairs:
    """Read a text list of ``<stem>__<two-digit class from 1>`` lines.

    Args:
        path (str): The list file.
        num_classes (int): Number of classes, for checking.

    Returns:
        list[tuple[int, str]]: (0-based class id, stem) in file order, stems in composed Unicode form.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming file and line, if a line has another form.
    """
    pairs = []
    for number, line in _lines(path):
        stem, separator, label = line.rpartition('__')
        if not separator or not re.fullmatch('[0-9]+', label) or not 1 <= int(label) <= num_classes:
            raise ValueError(f'{path}, line {number}: expected "<image>__<class 01..{num_classes:02d}>", where <image> '
                             f'is the stem of an image, got "{visible(line)}".')
        pairs.append((int(label) - 1, stem))
    return pairs


def read_fss_list(path: str) -> List[str]:
    """Read a text list of categories, one per line, in composed Unicode form.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a category is listed twice, or none is, or a line is a path.
    """
    lines = list(_lines(path))
    for number, line in lines:
        if '/' in line or '\\' in line:
            raise ValueError(f'{path}, line {number}: a line must be the name of a category folder, got '
                             f'"{visible(line)}".')
    categories = [line for _, line in lines]
    if not categories:
        raise ValueError(f'The list {path} names no category.')
    if len(set(categories)) != len(categories):
        twice = next(name for name in categories if categories.count(name) > 1)
        raise ValueError(f'The list {path} names the category "{twice}" twice.')
    return categories


def read_coco_list(path: str) -> Dict[int, List[str]]:
    """Read the images of each class from a pickle or a JSON file.

    Forms: ``.pkl``, a pickled ``dict[int, list[str]]`` (class id to image names), read by an unpickler that can build
    nothing else; ``.json`` or ``.json.gz``, ``{"classes": {"0": [...], ...}}`` with names, or with image ids and a
    ``"name_format"`` such as ``"val2014/COCO_val2014_%012d.jpg"``. List order is kept.

    Args:
        path (str): The list file.

    Returns:
        dict[int, list[str]]: Names by class id.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is something else, or a pickle that would run code.
    """
    content = _bytes(path)
    if path.endswith('.pkl'):
        lists = _unpickle(content, path)
    else:
        lists = _parse_json(content, path)
    if not isinstance(lists, dict) or not all(
            type(key) is int and isinstance(names, list) and all(type(name) is str for name in names)
            for key, names in lists.items()):
        raise ValueError(f'The list {path} must be a dict from class id (int) to a list of image names (str).')
    return {class_id: [normal_name(name) for name in names] for class_id, names in lists.items()}


def _unpickle(content: bytes, path: str) -> Any:
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise ValueError(f'The pickled list {path} is refused: {error}') from error


def _parse_json(content: bytes, path: str) -> Dict[int, List[str]]:
    try:
        if path.endswith('.gz'):
            content = gzip.decompress(content)
        parsed = json.loads(decode_text(content, path))
        name_format = parsed.get('name_format')
        return {int(key): [name_format % name for name in names] if name_format else names
                for key, names in parsed['classes'].items()}
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'The list {path} is not JSON of the form {{"classes": {{"0": [...]}}}}: {error!r}') from error


def check_class_ids(class_ids: Iterable[int], num_classes: int, path: str) -> None:
    """Check that the class ids of a list file exist; the ValueError names file and id."""
    unknown = sorted(class_id for class_id in class_ids if not 0 <= class_id < num_classes)
    if unknown:
        raise ValueError(f'The list {path} names class {unknown[0]}; known are the ids 0..{num_classes - 1}.')


def write_pascal_list(pairs: Iterable[Tuple[int, str]], path: PathLike) -> None:
    """Write (class id, stem) pairs in the form of :func:`read_pascal_list`."""
    _write_lines((f'{stem}__{class_id + 1:02d}' for class_id, stem in pairs), path)


def write_fss_list(categories: Iterable[str], path: PathLike) -> None:
    """Write categories in the form of :func:`read_fss_list`."""
    _write_lines(categories, path)


def _write_lines(lines: Iterable[str], path: PathLike) -> None:
    lines = list(lines)
    strange = [line for line in lines if re.search('[\ud800-\udfff]', line)]
    if strange:
        raise ValueError(f'The list {path} cannot name {few(strange)}: not UTF-8. Rename these files.')
    write_text(''.join(f'{line}\n' for line in lines), path)


def write_coco_list(lists: Mapping[int, Sequence[str]], path: PathLike) -> None:
    """Write the images of each class in a form of :func:`read_coco_list`, chosen by suffix (``.pkl``, ``.json``)."""
    lists = {int(class_id): list(names) for class_id, names in lists.items()}
    with atomic_path(path) as temporary:
        if str(path).endswith('.pkl'):
            temporary.write_bytes(pickle.dumps(lists, protocol=3))
        else:
            temporary.write_text(json.dumps(dict(classes=lists)), encoding='utf-8')


def text_digest(path: str) -> str:
    """Compute the SHA-256 of a text list in UTF-8 with LF line ends, whatever an editor or a checkout made of it."""
    return hashlib.sha256(_text(path).encode()).hexdigest()


def coco_digest(lists: Mapping[int, Sequence[str]]) -> str:
    """Compute the SHA-256 of the lines ``<class> <name>`` of a COCO list, by class id and then in list order."""
    digest = hashlib.sha256()
    for class_id in sorted(lists):
        digest.update(''.join(f'{class_id} {name}\n' for name in lists[class_id]).encode(errors='surrogatepass'))
    return digest.hexdigest()


def is_official(benchmark: str, part: str, digest: str) -> bool:
    """Check whether a digest belongs to the published list for this use.

    Args:
        benchmark (str): ``'pascal'``, ``'coco'`` or ``'fss'``.
        part (str): ``'trn/fold0'`` ... ``'val/fold3'``; for FSS-1000 ``'trn'``, ``'val'``, ``'test'``.
        digest (str): From :func:`text_digest` or :func:`coco_digest`.
    """
    return OFFICIAL_LISTS.get((benchmark, part)) == digest


def recognize_lists(benchmark: str, split_dir: PathLike) -> Dict[str, Optional[bool]]:
    """Tell which files of a folder are the published lists.

    Args:
        benchmark (str): ``'pascal'``, ``'coco'`` or ``'fss'``.
        split_dir (str | Path): Folder of the lists, e.g. ``data/splits/coco``.

    Returns:
        dict: Names of the files to whether they are the published ones; None for a file that is not there.
    """
    found: Dict[str, Optional[bool]] = {}
    for part in (part for name, part in OFFICIAL_LISTS if name == benchmark):
        name = f'{part}.pkl' if benchmark == 'coco' else f'{part}.txt'
        path = os.path.join(split_dir, name)
        if not os.path.isfile(path):
            found[name] = None
            continue
        try:
            digest = coco_digest(read_coco_list(path)) if benchmark == 'coco' else text_digest(path)
        except ValueError:  # no list at all
            digest = ''
        found[name] = is_official(benchmark, part, digest)
    return found


def _lines(path: str) -> Iterator[Tuple[int, str]]:
    """Yield number and text of the lines that are not empty, in composed Unicode form."""
    for number, line in enumerate(_text(path).split('\n'), start=1):
        if line.strip():
            yield number, normal_name(line.strip())


def _text(path: str) -> str:
    return decode_text(_bytes(path), path)


def _bytes(path: str) -> bytes:
    if not os.path.isfile(path):
        raise FileNotFoundError(f'The split list "{path}" does not exist. Put the published lists there, build lists '
                                'with tools/dataset_converters, or set split_dir=None to build them from '
                                'the annotations.')
    with open(path, 'rb') as file:
        return file.read()
