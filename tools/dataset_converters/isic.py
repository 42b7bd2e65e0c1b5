"""Sort the images of ISIC 2018, task 1, into class folders: 1 nevus, 2 melanoma, 3 seborrheic keratosis.

SRC holds ISIC2018_Task1-2_Training_Input/ISIC_<7 digits>.jpg and
ISIC2018_Task1_Training_GroundTruth/ISIC_<7 digits>_segmentation.png as downloaded. --csv is class_id.csv of the
cross-domain benchmark, columns ID and Class, 2594 rows. OUT gets the layout that mmfss.datasets.ISICIndex reads.

--variant released does what the script released with DMTNet does: it looks for "seborrheic keratosis", which the CSV
writes with an underscore, so that class 3 stays empty.

A run that was interrupted continues where it stopped.
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import csv
import io
from collections import Counter
from pathlib import Path
from typing import Dict, List, Tuple

from mmfss.converters.dataset_files import place_files, require_files, run_dataset_converter
from mmfss.datasets import ISICIndex
from mmfss.utils.files import read_text

VARIANTS = ('fixed', 'released')


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', type=Path, help='the folder of the two downloaded folders')
    parser.add_argument('out', type=Path, help='the folder to make, e.g. data/ISIC; SRC itself will do')
    parser.add_argument('--csv', type=Path, help='the class of each image (default SRC/class_id.csv)')
    parser.add_argument('--variant', choices=VARIANTS, default='fixed', help='known class names (default fixed)')
    parser.add_argument('--link', action='store_true', help='make hard links instead of copies')
    return parser


def read_classes(path: Path) -> Dict[str, str]:
    """Class of each image id.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: Naming file and line, if a column is missing, a class unknown or an image named twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f'The list of classes "{path}" does not exist; name it with --csv.')
    classes: Dict[str, str] = {}
    reader = csv.DictReader(io.StringIO(read_text(path), newline=''))
    if not {'ID', 'Class'} <= set(reader.fieldnames or ()):
        raise ValueError(f'"{path}" must have the columns ID and Class, it has {reader.fieldnames}.')
    for row in reader:
        name, label = str(row['ID']).strip(), str(row['Class']).strip()
        if label not in ISICIndex.CLASSES:
            raise ValueError(f'"{path}", line {reader.line_num}: unknown class "{label}"; known are '
                             f'{", ".join(ISICIndex.CLASSES)}.')
        if name in classes:
            raise ValueError(f'"{path}", line {reader.line_num}: "{name}" is listed twice.')
        classes[name] = label
    return classes


def plan(src: Path, out: Path, classes: Dict[str, str], variant: str) -> List[Tuple[Path, Path]]:
    """(source, target) of every image and mask."""
    folders = {label: str(number) for number, label in enumerate(ISICIndex.CLASSES, start=1)}
    if variant == 'released':
        del folders['seborrheic_keratosis']
    pairs = []
    for name, label in classes.items():
        if label in folders:
            image, mask = f'{name}.jpg', f'{name}_segmentation.png'
            pairs.append((src / ISICIndex.IMAGES / image, out / ISICIndex.IMAGES / folders[label] / image))
            pairs.append((src / ISICIndex.MASKS / mask, out / ISICIndex.MASKS / mask))
    return pairs


def convert(args: argparse.Namespace) -> None:
    """Run the tool."""
    for folder in (ISICIndex.IMAGES, ISICIndex.MASKS):
        if not (args.src / folder).is_dir():
            raise FileNotFoundError(f'The folder "{args.src / folder}" does not exist; SRC must hold it as downloaded.')
    classes = read_classes(args.csv or args.src / 'class_id.csv')
    pairs = plan(args.src, args.out, classes, args.variant)
    # All images must be there, whatever the variant leaves out.
    require_files((args.src / ISICIndex.IMAGES / f'{name}.jpg' for name in classes), 'listed image')
    for number in range(len(ISICIndex.CLASSES)):
        (args.out / ISICIndex.IMAGES / str(number + 1)).mkdir(parents=True, exist_ok=True)
    written = place_files(pairs, args.link)
    counts = Counter(target.parent.name for _, target in pairs if target.suffix == '.jpg')
    print(f'{args.out}: {written} of {len(pairs)} files written; images by class: '
          + ', '.join(f'{number} {label}: {counts[str(number)]}' for number, label in enumerate(ISICIndex.CLASSES, 1)))


if __name__ == '__main__':
    run_dataset_converter(make_parser(), convert)
