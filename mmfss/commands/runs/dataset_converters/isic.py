"""Work of :mod:`mmfss.commands.dataset_converters.isic`."""
import argparse
import csv
import io
from collections import Counter
from pathlib import Path
from typing import Dict, List, Tuple

from mmfss.converters.dataset_files import place_files, require_files
from mmfss.datasets import ISICIndex
from mmfss.utils.files import read_text


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
    """List (source, target) of every image and mask."""
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
    """Convert, with parsed arguments."""
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
