"""Transforms of episodes."""
from .for_each_image import ForEachImage
from .formatting import PackEpisodeInputs
from .loading import LoadClassMask, LoadEpisodeImage
from .part_annotations import LoadPartAnnotations, PackPartSegInputs
from .random_scale import RandomScale
from .resize import ResizeEpisodeImage, resize_nearest

__all__ = [
    'ForEachImage', 'LoadClassMask', 'LoadEpisodeImage', 'LoadPartAnnotations', 'PackEpisodeInputs',
    'PackPartSegInputs', 'RandomScale', 'ResizeEpisodeImage', 'resize_nearest'
]
