"""Runs that explain a test set."""
from .episodes.loop import ExplanationLoop
from .images.loop import PrototypeExplanationLoop
from .images.relevance_loop import RelevanceExplanationLoop

__all__ = ['ExplanationLoop', 'PrototypeExplanationLoop', 'RelevanceExplanationLoop']
