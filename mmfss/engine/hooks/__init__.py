"""Hooks."""
from .checkpoint_guard_hook import CheckpointGuardHook
from .exact_checkpoint_hook import ExactCheckpointHook
from .visualization_hook import EpisodeVisualizationHook

__all__ = ['CheckpointGuardHook', 'EpisodeVisualizationHook', 'ExactCheckpointHook']
