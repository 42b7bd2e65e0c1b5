"""Class indices of benchmarks, one per storage format."""
from .base import CHECK_DATASET, IGNORE, ClassIndex, label_format
from .class_names import COCO_CLASSES, VOC_CLASSES
from .coco_instances import CocoInstanceIndex
from .folders import FSS1000Index, ImageFolderIndex, class_folders
from .grey_masks import DeepGlobeIndex, GreyMaskIndex, ISICIndex, LungIndex
from .label_maps import ADE20KIndex, CocoMaskIndex, LabelMapIndex, PascalVOCIndex, coco_mask_file

__all__ = [
    'ADE20KIndex', 'CHECK_DATASET', 'COCO_CLASSES', 'ClassIndex', 'CocoInstanceIndex', 'CocoMaskIndex',
    'DeepGlobeIndex', 'FSS1000Index', 'GreyMaskIndex', 'IGNORE', 'ISICIndex', 'ImageFolderIndex', 'LabelMapIndex',
    'LungIndex', 'PascalVOCIndex', 'VOC_CLASSES', 'class_folders', 'coco_mask_file', 'label_format'
]
