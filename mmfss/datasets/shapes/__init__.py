"""The embedded dataset of textured shapes."""
from .dataset import SHAPES_CLASSES, ShapesDataset, ShapesIndex
from .semantic import ShapesSegDataset

__all__ = ['SHAPES_CLASSES', 'ShapesDataset', 'ShapesIndex', 'ShapesSegDataset']
