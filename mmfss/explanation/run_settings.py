"""Settings of an explanation run: what its results depend on."""
import copy
import hashlib
import json
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from torch import nn


def run_settings(cfg: Config, model: nn.Module, **settings: Any) -> dict[str, Any]:
    """Collect the settings that the record of an episode depends on.

    The number of episodes is not among it: episode i is a function of i, so that a run can be made longer.

    Args:
        cfg (Config): The runner's config.
        model (nn.Module): The model with its weights.
        **settings: Explainers, region and the like.

    Returns:
        dict: Plain values, the same after a round through JSON.
    """
    dataset = copy.deepcopy((cfg.get('test_dataloader') or {}).get('dataset'))
    for holder in _holders_of_episodes(dataset):
        holder.pop('num_episodes', None)
    found = dict(
        model=_without_init(cfg.get('model')),
        weights=hash_weights(model),
        dataset=dataset,
        metrics=cfg.get('test_evaluator'),
        **settings)
    return json.loads(json.dumps(ConfigDict(found).to_dict(), default=str))


def _without_init(node: Any) -> Any:
    """Remove the paths of initial weights from a model's config: only the weights matter."""
    if isinstance(node, dict):
        return {key: _without_init(value) for key, value in node.items() if key != 'init_cfg'}
    return [_without_init(value) for value in node] if isinstance(node, (list, tuple)) else node


def _holders_of_episodes(dataset: Any) -> list[dict]:
    """List the dicts of a dataset config that may set ``num_episodes``: its own, its sampler's, a wrapped one's."""
    if not isinstance(dataset, dict):
        return []
    return [dataset, *(holder for key in ('sampler', 'dataset') for holder in _holders_of_episodes(dataset.get(key)))]


def hash_weights(model: nn.Module) -> str:
    """Compute the SHA-256 of the names and values of a model's state, independent of file and device."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f'{name}{tuple(value.shape)}{value.dtype}'.encode())
        digest.update(np.ascontiguousarray(value.detach().cpu().float().numpy()))
    return digest.hexdigest()
