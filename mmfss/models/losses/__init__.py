"""Losses of heads; the cross entropy of masks is MMSegmentation's."""
from .base import PrototypeLoss
from .cross_entropy import pixel_cross_entropy
from .diversity import GroupDiversityLoss, JeffreysDiversityLoss
from .entropy import GroupEntropyLoss, SampleEntropyLoss, SpatialEntropyLoss, group_entropy
from .evidence import GroupEvidence, PrototypeEvidence
from .partial_labels import image_label_loss, labelled_cross_entropy
from .regions import ClassRegions
from .sparsity import ActivationNormLoss, GroupCrossEntropyLoss, OffClassL1Loss, ScaleMaxLoss

__all__ = [
    'ActivationNormLoss', 'ClassRegions', 'GroupCrossEntropyLoss', 'GroupDiversityLoss', 'GroupEntropyLoss',
    'GroupEvidence', 'JeffreysDiversityLoss', 'OffClassL1Loss', 'PrototypeEvidence', 'PrototypeLoss',
    'SampleEntropyLoss', 'ScaleMaxLoss', 'SpatialEntropyLoss', 'group_entropy', 'image_label_loss',
    'labelled_cross_entropy', 'pixel_cross_entropy'
]
