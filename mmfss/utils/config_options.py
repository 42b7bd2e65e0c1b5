"""Reading configs and their changes from the command line, with errors for what MMEngine would take silently."""
import argparse
import inspect
from functools import cache
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set

from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope, Registry

from .errors import ConfigError
from .names import did_you_mean, suggest
from .package_root import SCOPE

_EVERYWHERE = {'type', '_delete_', '_scope_'}
# Top-level keys that are read from the config and are no argument of the runner.
_TOP_LEVEL = {
    'activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval', 'find_unused_parameters',
    'model_wrapper_cfg', 'runner_type', 'sync_bn'
}
_LOADER = {'batch_sampler', 'collate_fn', 'dataset', 'disable_subprocess_warning', 'num_batch_per_epoch', 'sampler',
           'worker_init_fn'}  # yapf: disable
_HOOKS = {'runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint', 'visualization'}
# Dicts whose keys are the user's own.
_FREE = {'custom_keys', 'dataset_meta', 'dist_cfg', 'init_kwargs', 'metainfo', 'mp_cfg', 'options'}


def parse_options(pairs: Sequence[str]) -> Dict[str, Any]:
    """Parse ``KEY=VALUE`` strings of a command line as MMEngine does.

    Args:
        pairs (Sequence[str]): The strings.

    Returns:
        dict: Keys to values.

    Raises:
        ConfigError: If a value cannot be read; the message begins with the string.

    Example:
        >>> parse_options(['train_cfg.max_iters=8', 'size=[1,2]', 'name=x'])
        {'train_cfg.max_iters': 8, 'size': [1, 2], 'name': 'x'}
    """
    parsed = argparse.Namespace()
    action = DictAction([], 'options')
    for pair in pairs:
        try:
            if pair.partition('=')[2].lstrip().startswith(('dict(', '{')):
                raise ValueError('a dict')  # MMEngine would hand on the text
            action(argparse.ArgumentParser(), parsed, [pair])
        except (AssertionError, ValueError, IndexError, RecursionError) as error:
            raise ConfigError(f'{pair}: the value cannot be read. Lists are written "[a,b]"; of a dict, name each key '
                              f'with dots. ({error})') from error
    return getattr(parsed, 'options', {})


def check_options(cfg: Config, options: Dict[str, Any]) -> None:
    """Make sure that every changed key exists, or is an argument of the class it is given to.

    MMEngine adds an unknown key to the config, where it is either never read or fails late. Types are changed first, so
    that the arguments beside them are those of the new class.

    Args:
        cfg (Config): The config before the change.
        options (dict): Dotted keys to values.

    Raises:
        ConfigError: For the first wrong key; names it and what comes close.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', SCOPE)):
        root = cfg.to_dict()
        for key in sorted(options, key=lambda key: key.rpartition('.')[2] != 'type'):
            _check_key(root, key)
            if isinstance(_value(root, key), dict) and not isinstance(options[key], (dict, type(None))):
                raise ConfigError(f'--cfg-options {key}={options[key]}: "{key}" has keys of its own; change one of '
                                  f'them, e.g. {key}.{next(iter(_value(root, key)), "type")}=...')
            if key.rpartition('.')[2] == 'type':
                changed = Config(root)
                changed.merge_from_dict({key: options[key]})
                root = changed.to_dict()


def _value(node: Any, full_key: str) -> Any:
    """Return what a config has at dotted keys; None if there is nothing."""
    for part in full_key.split('.'):
        if isinstance(node, (list, tuple)):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.get(part)
    return node


def _check_key(root: Dict[str, Any], full_key: str) -> None:
    node: Any = root
    parts = full_key.split('.')
    for depth, part in enumerate(parts):
        parent = '.'.join(parts[:depth])
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(f'--cfg-options {full_key}: "{parent}" is a list of {len(node)}, '
                                  f'it has no element "{part}".')
            node = node[int(part)]
        elif not isinstance(node, dict):
            raise ConfigError(f'--cfg-options {full_key}: "{parent}" is {node!r}, it has no keys.')
        elif part in node:
            node = node[part]
        elif part in _EVERYWHERE or (parent.rpartition('.')[2] in _FREE):
            return
        else:
            known = _accepted_keys(parent, node)
            if known is not None and part not in known:
                raise ConfigError(_unknown_key(root, full_key, parent, part, node, known))
            return  # An argument that the config leaves at its default: what is below it is the class's affair.


def _unknown_key(root: Dict[str, Any], full_key: str, parent: str, part: str, node: Dict[str, Any],
                 known: Set[str]) -> str:
    prefix = f'{parent}.' if parent else ''
    leaf = full_key.rpartition('.')[2]
    everywhere = list(_dotted_keys(root))
    same_leaf = [name for name in everywhere if name.rpartition('.')[2] == leaf]
    # A misspelt key, a key in another place, both
    hint = (did_you_mean(part, sorted(known), prefix=prefix) or suggest(same_leaf[:3])
            or did_you_mean(full_key, everywhere, cutoff=0.75) or f' It has: {", ".join(sorted(known)[:12])}.')
    owner = f'"{parent}"' if parent else 'the config'
    if 'type' in node:
        owner += f' ({node["type"]})'
    return f'--cfg-options {full_key}: {owner} has no key "{part}".{hint}'


def _dotted_keys(node: Any, prefix: str = '') -> Iterator[str]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in items:
        yield f'{prefix}{key}'
        yield from _dotted_keys(value, f'{prefix}{key}.')


def _accepted_keys(path: str, node: Dict[str, Any]) -> Optional[Set[str]]:
    """List the keys that a dict may have, existing ones included; None if it may have any."""
    known = set(node)
    readers: List[Callable] = []
    if path == '':
        known |= _TOP_LEVEL
        readers = _readers()['']
    elif path.endswith('_dataloader'):
        known |= _LOADER
        readers = _readers()['dataloader']
    elif path == 'default_hooks':
        known |= _HOOKS
    elif path in _readers() and 'type' not in node:
        readers = _readers()[path]
    elif 'type' in node:
        found = find_class(node['type'])
        if found is None:
            return None  # Not a class of a registry; building it says so better.
        readers = [found]
        if path == 'optim_wrapper':
            known |= {'constructor', 'paramwise_cfg', 'optimizer'}
        if path == 'train_cfg':
            known.add('by_epoch')
    for reader in readers:
        arguments = accepted_arguments(reader)
        if arguments is None:
            return None
        known |= arguments
    return known


@cache
def _readers() -> Dict[str, List[Callable]]:
    """Return what reads the keys of a place in a config: the runner those of the top level (``''``), and so on."""
    from mmengine.evaluator import Evaluator
    from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, LogProcessor, Runner, TestLoop, ValLoop
    from torch.utils.data import DataLoader

    return {
        '': [Runner],
        'dataloader': [DataLoader],
        'env_cfg': [lambda cudnn_benchmark, mp_cfg, dist_cfg, resource_limit: None],
        'randomness': [lambda seed, diff_rank_seed, deterministic: None],
        'auto_scale_lr': [lambda enable, base_batch_size: None],
        'log_processor': [LogProcessor],
        'train_cfg': [IterBasedTrainLoop, EpochBasedTrainLoop, lambda by_epoch: None],
        'val_cfg': [ValLoop],
        'test_cfg': [TestLoop],
        'val_evaluator': [Evaluator],
        'test_evaluator': [Evaluator],
    }


def find_class(name: Any) -> Optional[Callable]:
    """Find what a ``type`` in a config stands for.

    Args:
        name (Any): A class, or its name, possibly with a scope (``'mmpretrain.ResNet'``).

    Returns:
        Callable, optional: The class or function; None if no registry has it.
    """
    if callable(name):
        return name
    from mmfss import registry as mmfss_registry  # imports PyTorch
    registries = [value for value in vars(mmfss_registry).values() if isinstance(value, Registry)]
    found = (registry.get(str(name)) for registry in registries)
    # A registry also finds Python modules of that name, e.g. for the explainer ``random``.
    return next((item for item in found if callable(item)), None)


def accepted_arguments(target: Callable) -> Optional[Set[str]]:
    """List the keyword arguments of a class or function.

    Where a constructor passes ``**kwargs`` on, those of its base class are added.

    Args:
        target (Callable): The class or function.

    Returns:
        set[str], optional: The names; None if any name is accepted.
    """
    constructors = [target]
    if inspect.isclass(target):
        constructors = [base.__dict__['__init__'] for base in target.__mro__[:-1] if '__init__' in base.__dict__]
    names: Set[str] = set()
    for constructor in constructors:
        parameters = inspect.signature(constructor).parameters.values()
        names.update(parameter.name for parameter in parameters if parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and parameter.name != 'self')
        if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters):
            return names
    return None if constructors else names
