"""Build COCO-20i split lists from the annotations, for use where the published lists are not at hand.

Rule: an image is listed for each class that covers at least --min-pixels of its pixels (union of the objects); images
are ordered by name. Results on such lists do not compare with papers. Reads what mmfss.datasets.COCO20iDataset
documents; writes {trn,val}.json for all folds, or with --format pkl {trn,val}/fold{0..3}.pkl as the published lists are
stored.
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
from pathlib import Path
from typing import Dict, List

from mmfss.converters.dataset_files import run_dataset_converter
from mmfss.datasets import CocoInstanceIndex, CocoMaskIndex, make_folds
from mmfss.datasets.benchmarks import MIN_PIXELS, coco_lists
from mmfss.datasets.split_lists import write_coco_list


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', help='the COCO 2014 folder')
    parser.add_argument('out_dir', type=Path, help='folder of the lists, e.g. data/splits/coco')
    parser.add_argument('--masks', choices=('json', 'png'), default='json', help='instances files or class-number PNGs')
    parser.add_argument('--format', choices=('json', 'pkl'), default='json', help='form of the lists')
    parser.add_argument('--min-pixels', type=int, default=MIN_PIXELS, help=f'smallest object (default {MIN_PIXELS})')
    return parser


def write_part(lists: Dict[int, List[str]], part: str, out_dir: Path, form: str) -> None:
    """Write the lists of training (``trn``: all but the fold's classes) or validation (``val``: the fold's)."""
    if form == 'json':
        write_coco_list(lists, out_dir / f'{part}.json')
        return
    for fold, own in enumerate(make_folds(len(lists), 4, 'modulo')):
        kept = {key: names if (key in own) == (part == 'val') else [] for key, names in lists.items()}
        write_coco_list(kept, out_dir / part / f'fold{fold}.pkl')


def convert(args: argparse.Namespace) -> None:
    """Run the tool."""
    for part, folder in (('trn', 'train2014'), ('val', 'val2014')):
        if args.masks == 'json':
            index = CocoInstanceIndex(args.data_root, f'annotations/instances_{folder}.json', folder)
        else:
            index = CocoMaskIndex(args.data_root, folder)
        class_ids = range(len(index.classes))
        built = coco_lists(index, class_ids, args.min_pixels)
        write_part({class_id: built.images_of(class_id) for class_id in class_ids}, part, args.out_dir, args.format)
        print(f'{args.out_dir / part}: {len(built)} items, {built.num_images} images')


if __name__ == '__main__':
    run_dataset_converter(make_parser(), convert)
