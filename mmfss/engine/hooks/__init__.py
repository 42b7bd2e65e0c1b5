"""Hooks."""
from .checkpoint_guard_hook import CheckpointGuardHook
from .exact_checkpoint_hook import ExactCheckpointHook

__all__ = ['CheckpointGuardHook', 'ExactCheckpointHook']
