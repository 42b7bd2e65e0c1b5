"""PASCAL-5i and COCO-20i as one-line datasets."""
import logging
import os
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.logging import print_log

from mmfss.registry import DATASETS
from mmfss.utils.defaults import MIN_PIXELS, VOC_IMAGE_SETS
from .class_indices import VOC_CLASSES, ClassIndex
from .class_lists import ClassLists
from .episodic_dataset import EpisodicDataset
from .folds import make_folds
from .split_lists import check_class_ids, coco_digest, is_official, read_coco_list, read_pascal_list, text_digest


def find_split_dir(split_dir: Optional[str]) -> Optional[str]:
    """Return the folder of the split lists, or warn that lists are built instead and return None."""
    if split_dir is None or os.path.isdir(os.path.expanduser(split_dir)):
        return split_dir and os.path.expanduser(split_dir)
    print_log(
        f'No split lists in "{split_dir}": they are built from the annotations. Results on built lists do not compare '
        'with papers; the README says where the published lists are.',
        logger='current',
        level=logging.WARNING)
    return None


def listed_folds(fold: int, classes_of: str) -> List[int]:
    """Return the folds (of four) whose classes a split uses: the others for ``'train'``, else the fold itself."""
    return [other for other in range(4) if other != fold] if classes_of == 'train' else [fold]


def list_source(title: str, files: Iterable[str], official: bool) -> str:
    """Describe where lists come from."""
    return f'official {title} (DCAMA/HSNet)' if official else f'unrecognized lists {", ".join(files)}'


def pascal_lists(index: ClassIndex, folds: Sequence[int], min_pixels: int = MIN_PIXELS) -> ClassLists:
    """Build lists of PASCAL-5i from annotations, fold by fold; see :meth:`ClassIndex.build_lists`."""
    groups = make_folds(len(VOC_CLASSES), 4)
    built = index.build_lists([class_id for fold in folds for class_id in groups[fold]], min_pixels)
    parts = [built.select(groups[fold]) for fold in folds]
    return ClassLists(
        np.concatenate([part.class_ids for part in parts]),
        np.concatenate([part.names[part.images] for part in parts]),
        source=built.source)


def coco_lists(index: ClassIndex, class_ids: Sequence[int], min_pixels: int = MIN_PIXELS) -> ClassLists:
    """Build lists of COCO-20i from annotations, class by class; see :meth:`ClassIndex.build_lists`."""
    built = index.build_lists(class_ids, min_pixels)
    return ClassLists.from_dict({class_id: built.images_of(class_id) for class_id in class_ids}, built.source)


@DATASETS.register_module()
class Pascal5iDataset(EpisodicDataset):
    """Draw episodes of PASCAL-5i: four folds of five classes, fold f tests the classes 5f .. 5f+4.

    .. code-block:: none

        data
        ├── VOCdevkit/VOC2012                  data_root, see PascalVOCIndex
        │   ├── JPEGImages
        │   ├── SegmentationClassAug           VOC 2012 + SBD masks
        │   └── ImageSets/Segmentation/{trainaug,val}.txt      only to build lists
        └── splits/pascal                      split_dir; optional
            ├── trn/fold{0..3}.txt             lines <stem>__<class 01..20>
            └── val/fold{0..3}.txt

    Training on fold f reads the ``trn`` lists of the three other folds in ascending order; validation and test read
    ``val/fold<f>.txt``. Any VOC-layout root with such lists works.

    As the source of cross-domain training, ``fold=None`` takes all 20 classes in every split: the lists of the four
    folds one after the other, 13,680 published items for training (DMTNet's code calls this fold 4).

    Args:
        data_root (str): The VOC folder.
        split (str): ``'train'``, ``'val'`` or ``'test'`` (the same as val).
        fold (int, optional): 0..3, or None for all classes.
        split_dir (str, optional): Folder of the lists. Where it does not exist, or with None, lists are built from the
            masks: an image of the image set is listed for each class of at least ``min_pixels`` pixels.
        mask_dir (str): Folder of the masks below the root.
        image_sets (dict): Image set of each split, to build lists from.
        **kwargs: See :class:`EpisodicDataset`.
    """

    IMAGE_SETS = VOC_IMAGE_SETS

    def __init__(self,
                 data_root: str,
                 pipeline: Sequence[Dict],
                 split: str = 'test',
                 fold: Optional[int] = 0,
                 split_dir: Optional[str] = 'data/splits/pascal',
                 mask_dir: str = 'SegmentationClassAug',
                 image_sets: Optional[Dict[str, str]] = None,
                 min_pixels: int = MIN_PIXELS,
                 dataset_name: str = 'PASCAL-5i',
                 **kwargs: Any) -> None:
        self.split_dir = find_split_dir(split_dir)
        index = dict(
            type='PascalVOCIndex',
            data_root=data_root,
            mask_dir=mask_dir,
            image_set=(image_sets or self.IMAGE_SETS).get(split),
            classes=VOC_CLASSES)
        super().__init__(
            index,
            pipeline,
            split,
            fold,
            folds=dict(num_folds=4, scheme='contiguous'),
            min_pixels=min_pixels,
            dataset_name=dataset_name,
            **kwargs)

    def _load_lists(self, list_files: Optional[Union[str, Sequence[str]]], min_pixels: int) -> ClassLists:
        if self.fold is None:
            folds = list(range(4))
        else:
            folds = listed_folds(self.fold, self.classes_of)
        if list_files is not None:
            return super()._load_lists(list_files, min_pixels)
        if self.split_dir is None:
            return pascal_lists(self.index, folds, min_pixels)
        parts = [f'{"trn" if self.split == "train" else "val"}/fold{fold}' for fold in folds]
        files = [os.path.join(self.split_dir, f'{part}.txt') for part in parts]
        pairs = [pair for path in files for pair in read_pascal_list(path)]
        groups = make_folds(len(VOC_CLASSES), 4)
        official = set(self.class_ids) == {class_id for fold in folds for class_id in groups[fold]} and all(
            is_official('pascal', part, text_digest(path)) for part, path in zip(parts, files))
        return ClassLists.from_pairs(pairs, list_source('PASCAL-5i', files, official), official).select(self.class_ids)


@DATASETS.register_module()
class COCO20iDataset(EpisodicDataset):
    """Draw episodes of COCO-20i: four folds of twenty classes, fold f tests the classes c with ``c % 4 == f``.

    .. code-block:: none

        data
        ├── coco2014                           data_root, see CocoInstanceIndex and CocoMaskIndex
        │   ├── train2014/*.jpg
        │   ├── val2014/*.jpg
        │   └── annotations
        │       ├── instances_{train,val}2014.json         masks='json' (default)
        │       └── {train,val}2014/*.png                  masks='png': class id + 1
        └── splits/coco                        split_dir; optional
            ├── trn/fold{0..3}.pkl             or trn.json.gz, trn.json for all folds in one
            └── val/fold{0..3}.pkl             or val.json.gz, val.json

    Training uses train2014 and the classes of the other folds, validation and test val2014.

    Args:
        data_root (str): The COCO folder.
        split (str): ``'train'``, ``'val'`` or ``'test'`` (the same as val).
        fold (int): 0..3.
        split_dir (str, optional): Folder of the lists. Where it does not exist, or with None, lists are built from the
            annotations: an image is listed for each class of at least ``min_pixels`` pixels, images by name.
        masks (str): ``'json'`` or ``'png'``.
        index (dict, optional): Further arguments of the class index, or another ``type``.
        **kwargs: See :class:`EpisodicDataset`.
    """

    def __init__(self,
                 data_root: str,
                 pipeline: Sequence[Dict],
                 split: str = 'test',
                 fold: int = 0,
                 split_dir: Optional[str] = 'data/splits/coco',
                 masks: str = 'json',
                 index: Optional[Dict] = None,
                 min_pixels: int = MIN_PIXELS,
                 dataset_name: str = 'COCO-20i',
                 **kwargs: Any) -> None:
        if masks not in ('json', 'png'):
            raise ValueError(f"masks must be 'json' or 'png', got {masks!r}.")
        self.split_dir = find_split_dir(split_dir)
        part = 'train2014' if split == 'train' else 'val2014'
        if masks == 'json':
            default = dict(type='CocoInstanceIndex', ann_file=f'annotations/instances_{part}.json', img_dir=part)
        else:
            default = dict(type='CocoMaskIndex', img_dir=part)
        super().__init__(
            dict(default, data_root=data_root, **(index or {})),
            pipeline,
            split,
            fold,
            folds=dict(num_folds=4, scheme='modulo'),
            min_pixels=min_pixels,
            dataset_name=dataset_name,
            **kwargs)

    def _load_lists(self, list_files: Optional[Union[str, Sequence[str]]], min_pixels: int) -> ClassLists:
        if list_files is not None:
            return super()._load_lists(list_files, min_pixels)
        if self.split_dir is None:
            return coco_lists(self.index, self.class_ids, min_pixels)
        # The training list of a fold holds the classes of the other folds; a validation list, those of its own.
        folds = [self.fold] if self.split == 'train' else listed_folds(self.fold, self.classes_of)
        wanted, paths, official = {}, [], True
        for fold in folds:
            part, path = self._find_list(fold)
            lists = read_coco_list(path)
            check_class_ids(lists, len(self.index.classes), path)
            own = self.class_ids if len(folds) == 1 else [i for i in self.class_ids if i % 4 == fold]
            lists = {class_id: lists.get(class_id, []) for class_id in own}
            official &= is_official('coco', part, coco_digest(lists))
            wanted.update(lists)
            paths.append(path)
        return ClassLists.from_dict(wanted, list_source('COCO-20i', dict.fromkeys(paths), official), official)

    def _find_list(self, fold: int) -> Tuple[str, str]:
        """Return the part of the benchmark, and the first existing list file of it."""
        folder = 'trn' if self.split == 'train' else 'val'
        part = f'{folder}/fold{fold}'
        names = [f'{part}.pkl', f'{part}.json', f'{folder}.json.gz', f'{folder}.json']
        paths = [os.path.join(self.split_dir, name) for name in names]
        found = [path for path in paths if os.path.isfile(path)]
        if not found:
            raise FileNotFoundError(f'"{self.split_dir}" has none of the split lists {", ".join(names)}. Complete '
                                    'it, build lists with tools/dataset_converters/coco20i_lists.py, or set '
                                    'split_dir=None.')
        return part, found[0]
