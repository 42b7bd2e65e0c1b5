"""Reading a segmentation backwards: which support pixels made it."""
from .base import Explainer
from .region import REGIONS, EmptyRegionError, Region, select_region

__all__ = ['REGIONS', 'EmptyRegionError', 'Explainer', 'Region', 'select_region']
