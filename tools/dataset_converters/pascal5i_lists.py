"""Build PASCAL-5i split lists from the masks, for use where the published lists are not at hand.

Rule: an image of the image set (trainaug for training, val for validation) is listed for each class that covers at
least --min-pixels pixels of its mask; lines are ordered by image, then by class. Results on such lists do not compare
with papers. Reads what mmfss.datasets.Pascal5iDataset documents; writes {trn,val}/fold{0..3}.txt.
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
from pathlib import Path

from mmfss.converters.dataset_files import run_dataset_converter
from mmfss.datasets import Pascal5iDataset, PascalVOCIndex, make_folds
from mmfss.datasets.benchmarks import MIN_PIXELS, pascal_lists
from mmfss.datasets.split_lists import write_pascal_list


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data_root', help='the VOC2012 folder')
    parser.add_argument('out_dir', type=Path, help='folder of the lists, e.g. data/splits/pascal')
    parser.add_argument('--mask-dir', default='SegmentationClassAug', help='folder of the masks below the root')
    parser.add_argument('--train-set', default=Pascal5iDataset.IMAGE_SETS['train'], help='image set for training')
    parser.add_argument('--val-set', default=Pascal5iDataset.IMAGE_SETS['val'], help='image set for validation')
    parser.add_argument('--min-pixels', type=int, default=MIN_PIXELS, help=f'smallest object (default {MIN_PIXELS})')
    return parser


def convert(args: argparse.Namespace) -> None:
    """Run the tool."""
    for part, image_set in (('trn', args.train_set), ('val', args.val_set)):
        index = PascalVOCIndex(args.data_root, mask_dir=args.mask_dir, image_set=image_set)
        lists = pascal_lists(index, range(4), args.min_pixels)
        for fold, class_ids in enumerate(make_folds(20, 4)):
            chosen = lists.select(class_ids)
            path = args.out_dir / part / f'fold{fold}.txt'
            write_pascal_list(zip(chosen.class_ids.tolist(), chosen.names[chosen.images].tolist()), path)
            print(f'{path}: {len(chosen)} items, {chosen.num_images} images')


if __name__ == '__main__':
    run_dataset_converter(make_parser(), convert)
