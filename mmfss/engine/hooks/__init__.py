"""Hooks."""
from .checkpoint_guard_hook import CheckpointGuardHook
from .exact_checkpoint_hook import ExactCheckpointHook
from .group_threshold_hook import GroupThresholdHook
from .progress_hook import ProgressHook
from .prototype_push_hook import PrototypePushHook
from .resumable_early_stopping_hook import ResumableEarlyStoppingHook
from .simplex_projection_hook import SimplexProjectionHook
from .visualization_hook import EpisodeVisualizationHook

__all__ = [
    'CheckpointGuardHook', 'EpisodeVisualizationHook', 'ExactCheckpointHook', 'GroupThresholdHook',
    'ProgressHook', 'PrototypePushHook', 'ResumableEarlyStoppingHook', 'SimplexProjectionHook'
]
