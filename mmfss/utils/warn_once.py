"""Warnings that are given once per process, not once per file."""
import warnings

_GIVEN: set[str] = set()


def warn_once(kind: str, message: str) -> None:
    """Warn, unless a warning of this kind was given before.

    Args:
        kind (str): What the warning is about; later messages of the same kind are not shown.
        message (str): The message.
    """
    if kind not in _GIVEN:
        _GIVEN.add(kind)
        warnings.warn(message, stacklevel=3)
