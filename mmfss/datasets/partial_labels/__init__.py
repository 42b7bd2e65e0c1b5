"""Images of which few have a mask, and all have labels of the whole image."""
from .choice import choose_masked, mixed_distribution
from .dataset import PartialLabelDataset
from .image_labels import labels_of_map, read_image_labels, read_voc_labels, write_image_labels
from .order import ReleaseOrder, SeededOrder
from .voc import VOCPartialDataset

__all__ = [
    'PartialLabelDataset', 'ReleaseOrder', 'SeededOrder', 'VOCPartialDataset', 'choose_masked', 'labels_of_map',
    'mixed_distribution', 'read_image_labels', 'read_voc_labels', 'write_image_labels'
]
