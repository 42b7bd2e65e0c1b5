"""Training: loops, optimizer wrappers, hooks."""
from .distributed import leave_distributed, setup_distributed, setup_local_rank
from .hooks import CheckpointGuardHook, ExactCheckpointHook
from .loops import EpisodeTrainLoop
from .optim import BFloat16OptimWrapper, TrainableOptimWrapperConstructor
from .self_finetuning import SelfFinetuningTestLoop
from .threshold_loop import ThresholdLoop

__all__ = [
    'BFloat16OptimWrapper', 'CheckpointGuardHook', 'EpisodeTrainLoop', 'ExactCheckpointHook', 'SelfFinetuningTestLoop',
    'ThresholdLoop', 'TrainableOptimWrapperConstructor', 'leave_distributed', 'setup_distributed', 'setup_local_rank'
]
