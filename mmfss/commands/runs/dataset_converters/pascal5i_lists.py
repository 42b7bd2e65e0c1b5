"""Work of :mod:`mmfss.commands.dataset_converters.pascal5i_lists`."""
import argparse

from mmfss.datasets import PascalVOCIndex, make_folds
from mmfss.datasets.benchmarks import pascal_lists
from mmfss.datasets.split_lists import write_pascal_list


def convert(args: argparse.Namespace) -> None:
    """Convert, with parsed arguments."""
    for part, image_set in (('trn', args.train_set), ('val', args.val_set)):
        index = PascalVOCIndex(args.data_root, mask_dir=args.mask_dir, image_set=image_set)
        lists = pascal_lists(index, range(4), args.min_pixels)
        for fold, class_ids in enumerate(make_folds(20, 4)):
            chosen = lists.select(class_ids)
            path = args.out_dir / part / f'fold{fold}.txt'
            write_pascal_list(zip(chosen.class_ids.tolist(), chosen.names[chosen.images].tolist()), path)
            print(f'{path}: {len(chosen)} items, {chosen.num_images} images')
