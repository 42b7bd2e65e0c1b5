"""Models of the server: each is loaded once, and computes for one visitor at a time."""
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator

from .settings import SETTINGS, ModelChoice

if TYPE_CHECKING:
    from mmfss.apis import FewShotInferencer


class BusyError(ValueError):
    """Error: too many visitors wait for the model."""


class ComputeQueue:
    """Let one computation run at a time, and a few wait.

    Args:
        waiting (int): How many may wait.
    """

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self._count = 0
        self._counting = threading.Lock()
        self._running = threading.Lock()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Wait for one's turn.

        Raises:
            BusyError: If too many wait already.
        """
        with self._counting:
            if self._count > self.waiting:
                raise BusyError(f'The server is busy: {self._count} computations wait. Try again in a moment.')
            self._count += 1
        try:
            with self._running:
                yield
        finally:
            with self._counting:
                self._count -= 1


QUEUE = ComputeQueue(SETTINGS.waiting)

_models: dict[ModelChoice, 'FewShotInferencer'] = {}
_loading = threading.Lock()


def is_loaded(choice: ModelChoice) -> bool:
    """Tell whether a model is there already."""
    return choice in _models


def load(choice: ModelChoice) -> 'FewShotInferencer':
    """Return a model, which is loaded at the first call; other sessions wait for it and share it.

    Raises:
        ConfigError, FileNotFoundError, CheckpointError, ValueError: As :func:`init_model`.
    """
    with _loading:
        if choice not in _models:
            # It takes seconds to import; the page is there before.
            from mmfss.apis import FewShotInferencer

            _models[choice] = FewShotInferencer(choice.config, choice.checkpoint, SETTINGS.device, bgr=False)
        return _models[choice]
