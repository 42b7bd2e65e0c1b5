"""Numbers of files that the benchmarks are known to have, as their publishers state them."""
import fnmatch
import os
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Tuple

from mmfss.utils.files import PathLike
from .split_lists import recognize_lists


class Count(NamedTuple):
    """Files below a data root, and how many there should be.

    Attributes:
        what (str): What the files are.
        pattern (str): ``folder/pattern``; ``*/pattern`` for all folders of the root.
        known (int): Their number in the whole benchmark.
    """
    what: str
    pattern: str
    known: int


VOC_2012 = (Count('photographs', 'JPEGImages/*.jpg', 17125),
            Count('masks of VOC 2012', 'SegmentationClass/*.png', 2913))
VOC_SBD = (Count('masks with those of SBD', 'SegmentationClassAug/*.png', 12031), )
COCO_2014 = (Count('training photographs', 'train2014/*.jpg', 82783),
             Count('validation photographs', 'val2014/*.jpg', 40504))
FSS_1000 = (Count('photographs', '*/*.jpg', 10000), Count('masks', '*/*.png', 10000))
LVIS = (Count('training photographs', 'train2017/*.jpg', 118287),
        Count('validation photographs', 'val2017/*.jpg', 5000))
ADE20K = (Count('training photographs', 'images/training/*.jpg', 20210),
          Count('validation photographs', 'images/validation/*.jpg', 2000))
ISIC = (Count('photographs', 'ISIC2018_Task1-2_Training_Input/*.jpg', 2594),
        Count('masks', 'ISIC2018_Task1_Training_GroundTruth/*.png', 2594))

# By the class of the dataset, for :func:`describe_counts`.
BY_DATASET: Mapping[str, Tuple[Count, ...]] = dict(
    Pascal5iDataset=VOC_2012 + VOC_SBD, COCO20iDataset=COCO_2014, FSS1000Dataset=FSS_1000, LVIS92iDataset=LVIS,
    ADE20KDataset=ADE20K)
SPLITS_OF = dict(Pascal5iDataset='pascal', COCO20iDataset='coco', FSS1000Dataset='fss')


def count_files(root: PathLike, pattern: str) -> int:
    """Count files.

    Args:
        root (str | Path): The data root.
        pattern (str): See :class:`Count`.

    Returns:
        int: Their number; 0 where there is no folder.
    """
    folder, _, names = pattern.rpartition('/')
    folders = Path(root).glob(folder) if folder else [Path(root)]
    return sum(fnmatch.fnmatch(entry.name, names) and not entry.name.startswith('.')
               for path in folders if path.is_dir() for entry in os.scandir(path))


def compare_counts(root: PathLike, counts: Tuple[Count, ...]) -> Iterator[Tuple[str, bool]]:
    """Compare the numbers of files with the known ones.

    Args:
        root (str | Path): The data root.
        counts (tuple[Count, ...]): What to count.

    Yields:
        tuple[str, bool]: A line, and whether the numbers agree.
    """
    for count in counts:
        found = count_files(root, count.pattern)
        agrees = found == count.known
        yield f'{count.what}: {found:,}' + (' (all)' if agrees else f' of {count.known:,}'), agrees


def compare_lists(benchmark: str, split_dir: PathLike) -> Tuple[str, bool]:
    """Say how many of the lists in a folder are the published ones.

    Args:
        benchmark (str): ``'pascal'``, ``'coco'`` or ``'fss'``.
        split_dir (str | Path): Folder of the lists.

    Returns:
        tuple[str, bool]: A line, and whether all of them are there.
    """
    lists = recognize_lists(benchmark, split_dir)
    official = sum(found is True for found in lists.values())
    others = [name for name, found in lists.items() if found is False]
    line = f'split lists: {official} of {len(lists)} published ones in {split_dir}'
    return line + (f'; others: {", ".join(others)}' if others else ''), official == len(lists)


def describe_counts(cfg: Dict[str, Any]) -> List[str]:
    """Compare a dataset's files with the known numbers of its benchmark.

    Args:
        cfg (dict): Config of the dataset.

    Returns:
        list[str]: One line per kind of file; empty for a dataset of the user's own.

    Example:
        >>> describe_counts(dict(type='FSS1000Dataset', data_root='nowhere', split_dir=None))
        ['photographs: 0 of 10,000', 'masks: 0 of 10,000']
    """
    name, root = str(cfg.get('type')), cfg.get('data_root')
    if name not in BY_DATASET or not root:
        return []
    lines = [line for line, _ in compare_counts(root, BY_DATASET[name])]
    split_dir = cfg.get('split_dir', f'data/splits/{SPLITS_OF.get(name)}')
    if name in SPLITS_OF and split_dir and os.path.isdir(split_dir):
        lines.append(compare_lists(SPLITS_OF[name], split_dir)[0])
    return lines
