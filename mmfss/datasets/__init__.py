"""Episodic data: class indices, split lists, folds, episode samplers, transforms, and the datasets made of them."""
from .base_class_dataset import BaseClassDataset
from .benchmarks import COCO20iDataset, Pascal5iDataset
from .class_indices import (
    COCO_CLASSES,
    VOC_CLASSES,
    ADE20KIndex,
    ClassIndex,
    CocoInstanceIndex,
    CocoMaskIndex,
    DeepGlobeIndex,
    FSS1000Index,
    ImageFolderIndex,
    ISICIndex,
    LungIndex,
    PascalVOCIndex,
)
from .class_lists import ClassLists
from .collate import stack_episodes
from .control_datasets import WrongSupportDataset
from .cross_domain_datasets import CrossDomainDataset, DeepGlobeDataset, ISICDataset, LungDataset
from .episode_mixture import EpisodeMixture
from .episodic_dataset import EpisodicDataset
from .folder_datasets import FSS1000Dataset, ImageFolderDataset
from .folds import fold_classes, make_folds
from .label_folder_dataset import LabelFolderDataset
from .lvis_dataset import LVIS92iDataset, LVIS92iSampler
from .partial_labels import (
    PartialLabelDataset,
    VOCPartialDataset,
    choose_masked,
    read_image_labels,
    read_voc_labels,
    write_image_labels,
)
from .repeatable_dataset import RepeatableDataset
from .samplers import (
    Episode,
    EpisodeSampler,
    EpisodeStream,
    FixedEpisodeSampler,
    PublishedProtocolSampler,
    UniformEpisodeSampler,
    episodes_text,
)
from .scaleproto_datasets import COCOStuff182Dataset, ISBIEMDataset
from .shapes.dataset import SHAPES_CLASSES, ShapesDataset, ShapesIndex
from .shapes.semantic import ShapesSegDataset
from .transforms import (
    ForEachImage,
    LoadClassMask,
    LoadEpisodeImage,
    LoadPartialAnnotations,
    PackEpisodeInputs,
    PackPartialLabels,
    ResizeEpisodeImage,
    SquareCrop,
)

__all__ = [
    'ADE20KIndex', 'BaseClassDataset', 'COCO20iDataset', 'COCOStuff182Dataset', 'COCO_CLASSES', 'ClassIndex',
    'ClassLists', 'CocoInstanceIndex', 'CocoMaskIndex', 'CrossDomainDataset', 'DeepGlobeDataset', 'DeepGlobeIndex',
    'Episode', 'EpisodeMixture', 'EpisodeSampler', 'EpisodeStream', 'EpisodicDataset', 'FSS1000Dataset', 'FSS1000Index',
    'FixedEpisodeSampler', 'ForEachImage', 'ISBIEMDataset', 'ISICDataset', 'ISICIndex', 'ImageFolderDataset',
    'ImageFolderIndex', 'LVIS92iDataset', 'LVIS92iSampler', 'LabelFolderDataset', 'LoadClassMask', 'LoadEpisodeImage',
    'LoadPartialAnnotations', 'LungDataset', 'LungIndex', 'PackEpisodeInputs', 'PackPartialLabels',
    'PartialLabelDataset', 'Pascal5iDataset', 'PascalVOCIndex', 'PublishedProtocolSampler', 'RepeatableDataset',
    'ResizeEpisodeImage', 'SHAPES_CLASSES', 'ShapesDataset', 'ShapesIndex', 'ShapesSegDataset', 'SquareCrop',
    'UniformEpisodeSampler', 'VOCPartialDataset', 'VOC_CLASSES', 'WrongSupportDataset', 'choose_masked',
    'episodes_text', 'fold_classes', 'make_folds', 'read_image_labels', 'read_voc_labels', 'stack_episodes',
    'write_image_labels'
]
