"""Learned prototypes: embedding, search, push, sources, pruning."""
from .hooks import GroupThresholdHook, PrototypePushHook, SimplexProjectionHook
from .push import PrototypePush
from .test_loop import PrototypeTestLoop

__all__ = ['GroupThresholdHook', 'PrototypePush', 'PrototypePushHook', 'PrototypeTestLoop', 'SimplexProjectionHook']
