"""Standalone files of few-shot models: the supports are part of the model."""
from .export import ExportReport, export_model
from .standalone import StandaloneModel

__all__ = ['ExportReport', 'StandaloneModel', 'export_model']
