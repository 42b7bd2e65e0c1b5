"""Work of :mod:`mmfss.commands.dataset_converters.coco20i_lists`."""
import argparse
from pathlib import Path
from typing import Dict, List

from mmfss.datasets import CocoInstanceIndex, CocoMaskIndex, make_folds
from mmfss.datasets.benchmarks import coco_lists
from mmfss.datasets.split_lists import write_coco_list


def write_part(lists: Dict[int, List[str]], part: str, out_dir: Path, form: str) -> None:
    """Write the lists of training (``trn``: all but the fold's classes) or validation (``val``: the fold's)."""
    if form == 'json':
        write_coco_list(lists, out_dir / f'{part}.json')
        return
    for fold, own in enumerate(make_folds(len(lists), 4, 'modulo')):
        kept = {key: names if (key in own) == (part == 'val') else [] for key, names in lists.items()}
        write_coco_list(kept, out_dir / part / f'fold{fold}.pkl')


def convert(args: argparse.Namespace) -> None:
    """Convert, with parsed arguments."""
    for part, folder in (('trn', 'train2014'), ('val', 'val2014')):
        if args.masks == 'json':
            index = CocoInstanceIndex(args.data_root, f'annotations/instances_{folder}.json', folder)
        else:
            index = CocoMaskIndex(args.data_root, folder)
        class_ids = range(len(index.classes))
        built = coco_lists(index, class_ids, args.min_pixels)
        write_part({class_id: built.images_of(class_id) for class_id in class_ids}, part, args.out_dir, args.format)
        print(f'{args.out_dir / part}: {len(built)} items, {built.num_images} images')
