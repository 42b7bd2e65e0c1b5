"""Runs that explain a test set."""
from .episodes.loop import ExplanationLoop
from .images.loop import PrototypeExplanationLoop

__all__ = ['ExplanationLoop', 'PrototypeExplanationLoop']
