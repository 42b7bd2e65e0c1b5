"""Metrics of few-shot segmentation, and the controls a model must beat."""
from .controls import ControlModel, CopiedMask, PrototypeMatching
from .episodic_iou import EpisodicIoU

__all__ = ['ControlModel', 'CopiedMask', 'EpisodicIoU', 'PrototypeMatching']
