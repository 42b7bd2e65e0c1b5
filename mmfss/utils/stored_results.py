"""Results in JSON files, which are kept as long as config and checkpoint stay the same."""
import hashlib
import json
from pathlib import Path
from typing import Any, Optional

from mmengine.config import Config

from .files import dump_json


def fingerprint(cfg: Config, checkpoint: Optional[Path], method: str) -> dict[str, Any]:
    """Fingerprint the inputs of a test result; equal fingerprints mean equal results.

    Args:
        cfg (Config): The config, with the episodes set.
        checkpoint (Path, optional): The checkpoint; None for a model that needs no training.
        method (str): What was computed, e.g. ``'model'``.

    Returns:
        dict: Plain values.
    """
    status = None if checkpoint is None else checkpoint.stat()
    relevant = {key: cfg.get(key) for key in ('model', 'test_dataloader', 'test_evaluator', 'test_cfg')}
    content = json.dumps(Config(relevant).to_dict(), sort_keys=True, default=str)
    return dict(
        method=method,
        config=hashlib.sha256(content.encode()).hexdigest(),
        checkpoint=checkpoint and str(checkpoint.absolute()),
        checkpoint_size=status and status.st_size,
        checkpoint_mtime_ns=status and status.st_mtime_ns)


def load_result(path: Path, expected: dict[str, Any]) -> Optional[dict[str, Any]]:
    """Load a stored result if it has the expected fingerprint."""
    try:
        stored = json.loads(path.read_text(encoding='utf-8'))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return stored if stored.get('fingerprint') == expected else None


def save_result(path: Path, result: dict[str, Any], key: dict[str, Any]) -> dict[str, Any]:
    """Store a result with its fingerprint, for :func:`load_result`."""
    result = dict(result, fingerprint=key)
    dump_json(result, path)
    return result
