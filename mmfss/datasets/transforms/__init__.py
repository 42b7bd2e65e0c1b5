"""Transforms of episodes."""
from .for_each_image import ForEachImage
from .formatting import PackEpisodeInputs
from .loading import LoadClassMask, LoadEpisodeImage
from .part_annotations import LoadPartAnnotations, PackPartSegInputs
from .partial_labels import LoadPartialAnnotations, PackPartialLabels
from .photometric import RandomBrightnessContrast, RandomDefocus, RandomGaussianNoise
from .random_scale import RandomScale
from .resize import ResizeEpisodeImage, resize_nearest
from .square import SquareCrop

__all__ = [
    'ForEachImage', 'LoadClassMask', 'LoadEpisodeImage', 'LoadPartAnnotations', 'LoadPartialAnnotations',
    'PackEpisodeInputs', 'PackPartSegInputs', 'PackPartialLabels', 'RandomBrightnessContrast', 'RandomDefocus',
    'RandomGaussianNoise', 'RandomScale', 'ResizeEpisodeImage', 'SquareCrop', 'resize_nearest'
]
