"""Work of :mod:`mmfss.commands.dataset_converters.image_labels`."""
import argparse

import mmcv
from mmengine.utils import track_iter_progress

from mmfss.datasets import write_image_labels
from mmfss.datasets.partial_labels import labels_of_map
from mmfss.utils.config_options import find_class


def convert(args: argparse.Namespace) -> None:
    """Convert, with parsed arguments.

    Raises:
        FileNotFoundError: If the folder holds no PNG.
        ValueError: If the dataset does not exist or has no classes.
    """
    classes = (getattr(find_class(args.dataset), 'METAINFO', None) or {}).get('classes')
    if not classes:
        raise ValueError(f'--dataset {args.dataset}: there is no such dataset, or its class has no names of classes.')
    masks = sorted(args.masks.glob('*.png'))
    if not masks:
        raise FileNotFoundError(f'"{args.masks}" holds no masks (*.png).')
    labels = {path.stem: labels_of_map(mmcv.imread(str(path), 'unchanged', backend='pillow'), len(classes))
              for path in track_iter_progress(masks)}
    write_image_labels(args.out, labels, classes)
    print(f'\n{args.out}: {len(labels)} images')
