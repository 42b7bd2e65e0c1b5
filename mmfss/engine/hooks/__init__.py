"""Hooks."""
from .checkpoint_guard_hook import CheckpointGuardHook
from .deferred_runtime_info_hook import DeferredRuntimeInfoHook
from .exact_checkpoint_hook import ExactCheckpointHook
from .progress_hook import ProgressHook
from .resumable_early_stopping_hook import ResumableEarlyStoppingHook
from .training_free_hook import TrainingFreeHook
from .training_pictures_hook import TrainingPicturesHook
from .visualization_hook import EpisodeVisualizationHook

__all__ = [
    'CheckpointGuardHook', 'DeferredRuntimeInfoHook', 'EpisodeVisualizationHook', 'ExactCheckpointHook',
    'ProgressHook', 'ResumableEarlyStoppingHook', 'TrainingFreeHook', 'TrainingPicturesHook'
]
