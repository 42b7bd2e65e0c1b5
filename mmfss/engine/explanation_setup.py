"""What an explanation run is made of: explainers and metrics by name, and the settings its results depend on."""
import copy
import difflib
import hashlib
import inspect
import json
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import BaseMetric
from mmseg.models.segmentors import BaseSegmentor
from torch import nn

from mmfss.evaluation.attribution import AttributionMetric, attribution_metric_config
from mmfss.explainers import Explainer
from mmfss.models import FewShotSegmentor, PrototypeHead
from mmfss.registry import EXPLAINERS
from .config_options import ConfigError, accepted_arguments, find_class

# Entries of attributions.npz beside the explainers' maps (the last two: pictures, for the page), and those with a "/".
RESERVED_NAMES = ('region', 'prediction', 'target', 'support_masks', 'query', 'supports')

ExplainerConfigs = Union[Sequence[str], Mapping[str, Optional[Mapping[str, Any]]]]


def explains_prototypes(cfg: Config) -> bool:
    """Whether a config's model has learned prototypes, and is not a few-shot one.

    Args:
        cfg (Config): A config.

    Raises:
        ConfigError: If it is neither: nothing explains it.
    """
    model = cfg.get('model') or {}
    kind, head = find_class(model.get('type')), find_class((model.get('decode_head') or {}).get('type'))
    if inspect.isclass(head) and issubclass(head, PrototypeHead):
        return True
    if inspect.isclass(kind) and issubclass(kind, BaseSegmentor) and not issubclass(kind, FewShotSegmentor):
        name = getattr(head, '__name__', 'none')
        raise ConfigError(f'The model of "{cfg.filename}" cannot be explained: it is a {kind.__name__} (decode_head: '
                          f'{name}). Explained are few-shot models (FewShotSegmentor) and models with prototypes '
                          '(decode_head: ScaleProtoHead or ScaleProtoGroupHead).')
    return False


def list_explainers() -> list[str]:
    """Names of the registered explainers, sorted."""
    EXPLAINERS.import_from_location()
    return sorted(EXPLAINERS.module_dict)


def explainer_configs(explainers: ExplainerConfigs) -> dict[str, dict[str, Any]]:
    """Complete what a config or a command line says of explainers.

    Args:
        explainers (Sequence[str] | Mapping): Names of :func:`list_explainers`; or configs by the name that tables and
            files use, where a config without ``type`` is of the type of that name:
            ``{'signed_affex': {}, 'mean': {'type': 'signed_affex', 'aggregation': 'mean'}}``.

    Returns:
        dict[str, dict]: Configs with ``type`` by name.

    Raises:
        ConfigError: If there is none, or a name is unknown or cannot be used.
    """
    if isinstance(explainers, (str, bytes)) or not explainers:
        raise ConfigError(f'explainers must be a list of names or a dict of configs, got {explainers!r}. Known: '
                          f'{", ".join(list_explainers())}.')
    if not isinstance(explainers, Mapping):
        explainers = {name: None for name in explainers}
    configs = {name: dict(dict(type=name), **(config or {})) for name, config in explainers.items()}
    for name, config in configs.items():
        if name in RESERVED_NAMES or '/' in name:
            raise ConfigError(f'An explainer cannot be called "{name}": the result files use that name.')
        _check_type(config['type'])
    return configs


def _check_type(name: str) -> None:
    known = list_explainers()
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=2)
        hint = f' Did you mean {" or ".join(close)}?' if close else ''
        raise ConfigError(f'Unknown explainer "{name}".{hint} Known: {", ".join(known)}.')


def build_explainers(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Explainer]:
    """Build explainers.

    Args:
        configs (Mapping): What :func:`explainer_configs` returned.

    Returns:
        dict[str, Explainer]: By name, in the given order.

    Raises:
        ConfigError: If an explainer has no such option, an option has a wrong value, or a package is missing.
    """
    explainers = {}
    for name, config in configs.items():
        accepted = accepted_arguments(EXPLAINERS.get(config['type']))
        unknown = [] if accepted is None else [key for key in config if key not in accepted | {'type'}]
        if unknown:
            raise ConfigError(f'The explainer "{name}" ({config["type"]}) has no option "{unknown[0]}"; it has: '
                              f'{", ".join(sorted(accepted)) or "none"}.')
        try:
            explainers[name] = EXPLAINERS.build(dict(config))
        except (ValueError, TypeError, ImportError) as error:
            raise ConfigError(f'The explainer "{name}" cannot be built: {error}') from error
    return explainers


def metric_configs(names: Sequence[str]) -> list[dict[str, Any]]:
    """Configs of attribution metrics by their names, each once; an unknown name raises a ValueError with the known."""
    return [attribution_metric_config(name) for name in dict.fromkeys(names)]


def set_explainer_options(configs: dict[str, dict[str, Any]], options: Mapping[str, Any]) -> None:
    """Change options of explainers.

    Args:
        configs (dict): What :func:`explainer_configs` returned; changed in place.
        options (Mapping): Values by ``<explainer>.<option>``.

    Raises:
        ConfigError: If there is no such explainer in this run.
    """
    for key, value in options.items():
        name, _, option = key.partition('.')
        if name not in configs or not option:
            raise ConfigError(f'--explainer-options {key}: write <explainer>.<option>=<value>, for one of the '
                              f'explainers {", ".join(configs)}.')
        configs[name][option] = value


def check_metrics(metrics: Sequence[BaseMetric]) -> None:
    """Make sure that metrics measure attributions, each under a name of its own.

    Args:
        metrics (Sequence[BaseMetric]): The metrics of an evaluator.

    Raises:
        ConfigError: If one does not, or two have one name.
    """
    for metric in metrics:
        if not isinstance(metric, AttributionMetric):
            raise ConfigError(f'test_evaluator: {type(metric).__name__} does not measure attributions, as the metrics '
                              'of mmfss.evaluation.attribution do.')
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f'test_evaluator: two metrics have the name "{name}"; give one a `name` of its own.')


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
    """The dicts of a data set's config that may say ``num_episodes``: its own, its sampler's, a wrapped data set's."""
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
