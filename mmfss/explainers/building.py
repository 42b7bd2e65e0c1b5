"""Build explainers by name."""
from typing import Any, Mapping, Optional, Sequence, Union

from mmfss.registry import EXPLAINERS
from mmfss.utils.config_options import ConfigError, accepted_arguments
from mmfss.utils.names import did_you_mean
from . import Explainer

# Entries of attributions.npz beside the explainers' maps (the last two: pictures, for the page), and those with a "/".
RESERVED_NAMES = ('region', 'prediction', 'target', 'support_masks', 'query', 'supports')
ExplainerConfigs = Union[Sequence[str], Mapping[str, Optional[Mapping[str, Any]]]]


def list_explainers() -> list[str]:
    """List the names of the registered explainers, sorted."""
    EXPLAINERS.import_from_location()
    return sorted(EXPLAINERS.module_dict)


def explainer_configs(explainers: ExplainerConfigs) -> dict[str, dict[str, Any]]:
    """Complete the explainer configs of a config file or a command line.

    Args:
        explainers (Sequence[str] | Mapping): Names of :func:`list_explainers`; or configs by the name that tables and
            files use, where a config without ``type`` is of the type of that name:
            ``{'signed_affex': {}, 'mean': {'type': 'signed_affex', 'aggregation': 'mean'}}``.

    Returns:
        dict[str, dict]: Configs with ``type`` by name.

    Raises:
        ConfigError: If there is none, or a name is unknown or cannot be used.

    Example:
        >>> from mmfss.explainers.building import explainer_configs
        >>> explainer_configs(['signed_affex'])
        {'signed_affex': {'type': 'signed_affex'}}
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
        hint = did_you_mean(str(name), known, limit=2)
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
