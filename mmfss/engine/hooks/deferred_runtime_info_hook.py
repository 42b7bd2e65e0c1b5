"""Hook that notes the values of a training step without waiting for the GPU."""
from typing import Any, Optional, Sequence

import numpy as np
import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner
from torch import Tensor

from mmfss.registry import HOOKS


class DeferredHistory(HistoryBuffer):
    """History of a value whose last entries may still be on the GPU; whoever reads it fetches them, all at once.

    Copies and pickles are plain histories, so that checkpoints are those of MMEngine.
    """

    def __init__(self, log_history: Sequence = (), count_history: Sequence = (), max_length: int = 1_000_000) -> None:
        self._pending: list[Tensor] = []
        super().__init__(log_history, count_history, max_length)

    @classmethod
    def of(cls, history: Optional[HistoryBuffer]) -> 'DeferredHistory':
        """Continue a plain history, or begin one."""
        return cls() if history is None else cls(*history.data, max_length=history.max_length)

    def defer(self, value: Tensor) -> None:
        """Append a tensor of one element, to be fetched later."""
        self._pending.append(value.detach().reshape(()))

    @property
    def _log_history(self) -> np.ndarray:
        self._fetch()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self._fetch()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def _fetch(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        new = HistoryBuffer(torch.stack(pending).tolist(), [1] * len(pending))
        if len(self._values):
            values, counts = (np.append(old, more) for old, more in zip((self._values, self._counts), new.data))
        else:  # an empty array has no type of its own
            values, counts = new.data
        self._values, self._counts = values[-self.max_length:], counts[-self.max_length:]

    def __reduce__(self) -> tuple:
        return HistoryBuffer, (*self.data, self.max_length)


@HOOKS.register_module()
class DeferredRuntimeInfoHook(RuntimeInfoHook):
    """Keep run-time information like MMEngine's hook, but leave losses on the GPU until somebody reads them.

    MMEngine fetches every loss in every iteration, for which the GPU must have finished: the next step is prepared
    only then. Here they are fetched when they are logged or saved.
    """

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: Optional[dict] = None) -> None:
        """Note what the model returned."""
        for key, value in (outputs or {}).items():
            note_scalar(runner.message_hub, f'train/{key}', value)


def note_scalar(hub: MessageHub, key: str, value: Any) -> None:
    """Append a value to a history; a tensor is fetched when the history is read."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        hub.update_scalar(key, value)
        return
    hub._set_resumed_keys(key, True)
    history = hub.log_scalars.get(key)
    if not isinstance(history, DeferredHistory):
        history = hub.log_scalars[key] = DeferredHistory.of(history)
    history.defer(value)
