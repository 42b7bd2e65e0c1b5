"""Settings of an explanation run: the defaults, and what its results depend on."""
import copy
import hashlib
import json
from typing import Any

import numpy as np
from mmengine.config import Config, ConfigDict
from torch import nn

EXPLAINERS = ['unmasked_affex', 'masked_affex', 'signed_affex', 'random']
METRICS = ['miou_loss@1%', 'miou_loss@5%']
EPISODES = 50


def run_settings(cfg: Config, model: nn.Module, **settings: Any) -> dict[str, Any]:
    """What the record of an episode depends on.

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
    """A model's config without where its first weights were from: the weights are what counts, not the file's place."""
    if isinstance(node, dict):
        return {key: _without_init(value) for key, value in node.items() if key != 'init_cfg'}
    return [_without_init(value) for value in node] if isinstance(node, (list, tuple)) else node


def _holders_of_episodes(dataset: Any) -> list[dict]:
    """The dicts of a dataset's config that may say ``num_episodes``: its own, its sampler's, a wrapped dataset's."""
    if not isinstance(dataset, dict):
        return []
    return [dataset, *(holder for key in ('sampler', 'dataset') for holder in _holders_of_episodes(dataset.get(key)))]


def hash_weights(model: nn.Module) -> str:
    """SHA-256 of the names and values of a model's state, whatever file or device they are from."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f'{name}{tuple(value.shape)}{value.dtype}'.encode())
        digest.update(np.ascontiguousarray(value.detach().cpu().float().numpy()))
    return digest.hexdigest()
