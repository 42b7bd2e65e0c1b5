"""Metrics of few-shot segmentation."""
from .episodic_iou import EpisodicIoU

__all__ = ['EpisodicIoU']
