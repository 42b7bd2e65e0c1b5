"""Models by name, from the package's own model index.

MMEngine resolves names only for the packages of a fixed table, so the index is read here: from the source tree, or from
the folder ``.mim`` of an installed wheel.
"""
import fnmatch
import logging
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import yaml
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import nn

from mmfss.converters.published_weights import published_model
from mmfss.registry import MODELS, SCOPE
from mmfss.utils.checkpoint import load_model_checkpoint
from mmfss.utils.config import load_config, split_shots
from mmfss.utils.config_options import ConfigError
from mmfss.utils.names import did_you_mean
from mmfss.utils.package_root import INDEX, get_package_root


class UnknownModelError(ConfigError, KeyError):
    """There is no model of that name."""

    # That of a KeyError has quotes around it.
    __str__ = Exception.__str__


def load_model_index(root: Optional[Path] = None) -> Dict[str, Dict[str, Any]]:
    """Read all metafiles that the model index imports.

    Args:
        root (Path, optional): Folder of the index; the index of the package by default.

    Returns:
        dict: Names to entries of the metafiles (``Config``, ``Metadata``, ``Results``, ...), in the order of the index.

    Raises:
        FileNotFoundError: If a metafile is missing.
        ValueError: If two models have one name.
    """
    root = get_package_root() if root is None else root
    models: Dict[str, Dict[str, Any]] = {}
    for metafile in _read_yaml(root / INDEX)['Import']:
        if not (root / metafile).is_file():
            raise FileNotFoundError(f'The model index "{root / INDEX}" imports "{metafile}", which does not exist.')
        for entry in _read_yaml(root / metafile).get('Models') or []:
            if entry['Name'] in models:
                raise ValueError(f'"{root / metafile}" names "{entry["Name"]}" a second time.')
            models[entry['Name']] = entry
    return models


def _read_yaml(path: Path) -> Dict[str, Any]:
    # In C, where PyYAML was built with it: ten times as fast.
    return yaml.load(path.read_text(encoding='utf-8'), getattr(yaml, 'CSafeLoader', yaml.SafeLoader))


def list_models(pattern: Optional[str] = None, root: Optional[Path] = None) -> List[str]:
    """List the names of the models, ``<method>_<config>``.

    Args:
        pattern (str, optional): Shell pattern, e.g. ``'dcama_*_fold0'``; a part of the name is enough.
        root (Path, optional): Folder of the index; the index of the package by default.

    Returns:
        list[str]: The names, sorted.
    """
    names = sorted(load_model_index(root))
    if pattern is None:
        return names
    return [name for name in names if fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, f'*{pattern}*')]


def resolve_model_name(name: str, root: Optional[Path] = None) -> str:
    """Complete a model's name.

    Args:
        name (str): A name of :func:`list_models`. Without a fold, fold 0 is meant. A number of shots at the end
            (``..._5shot``) changes the tested episodes, not the model, and is left out of the full name.
        root (Path, optional): Folder of the index; the index of the package by default.

    Returns:
        str: The full name.

    Raises:
        UnknownModelError: If there is no such model, a KeyError; the error gives names that come close.
    """
    names = list_models(root=root)
    # Something may follow the fold, such as a number of shots.
    without_fold = {re.sub(r'_fold0(?=_|$)', '', other): other for other in names}
    for wanted in (name, split_shots(name)[0]):
        if wanted in names or wanted in without_fold:
            return wanted if wanted in names else without_fold[wanted]
    hint = did_you_mean(name, names, limit=4, cutoff=0.5) or f' There are: {", ".join(names)}.'
    raise UnknownModelError(f'There is no model "{name}".{hint}')


def get_config_path(name: str, root: Optional[Path] = None) -> Path:
    """Find the config file of a model.

    Args:
        name (str): The model's name, see :func:`resolve_model_name`.
        root (Path, optional): Folder of the index; the index of the package by default.

    Returns:
        Path: The file.
    """
    root = get_package_root() if root is None else root
    return root / load_model_index(root)[resolve_model_name(name, root)]['Config']


def find_config(name_or_path: Union[str, Path]) -> Path:
    """Find a config file by the model's name; what ends in ``.py`` or exists is taken as a file.

    Args:
        name_or_path (str | Path): As in :func:`get_model_config`.

    Returns:
        Path: The file. A number of shots at the end of the name is kept, as :func:`load_config` reads it.

    Raises:
        UnknownModelError: If there is no model of that name, a KeyError.
    """
    path = Path(name_or_path)
    if path.suffix == '.py' or path.exists():
        return path
    path = get_config_path(str(name_or_path))
    shots = split_shots(str(name_or_path))[1]
    if shots is not None and split_shots(path.stem)[1] is None:
        path = path.with_stem(f'{path.stem}_{shots}shot')
    return path


def get_model_config(name_or_path: Union[str, Path], cfg_options: Optional[Dict[str, Any]] = None) -> Config:
    """Read the config of a model.

    Args:
        name_or_path (str | Path): The model's name, or a config file. A number of shots at its end, as in
            ``dcama_swinb_coco20i_5shot``, sets the supports of each tested class.
        cfg_options (dict, optional): Dotted keys of the config to change.

    Returns:
        Config: The whole config.

    Raises:
        UnknownModelError: If there is no model of that name, a KeyError.
        ConfigError: If the config or a changed key is wrong.

    Example:
        >>> get_model_config('dcama_resnet18_shapes_5shot').test_dataloader.dataset.num_shots
        5
    """
    return load_config(find_config(name_or_path), cfg_options)


_training_free: Dict[str, bool] = {}


def is_training_free(cfg: Config) -> bool:
    """Find out whether a model has nothing to train, so that it needs no checkpoint.

    Args:
        cfg (Config): A config; it is asked once for all configs of one model.

    Returns:
        bool: Whether the built model says so.
    """
    key = str(cfg.model)
    if key not in _training_free:
        _training_free[key] = getattr(build_model(cfg), 'training_free', False)
    return _training_free[key]


def _initialize_quietly(model: nn.Module) -> None:
    """Initialize the weights without MMEngine's message about every single one."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def build_model(config: Union[str, Path, Config],
                checkpoint: Optional[Union[str, Path]] = None,
                device: str = 'cpu',
                init_weights: bool = False) -> nn.Module:
    """Build a model in evaluation mode.

    Args:
        config (str | Path | Config): The model's name, a config file, or a config.
        checkpoint (str | Path, optional): Checkpoint to load; it must be one of this model, of this package or of the
            official implementation (DCAMA, DMTNet, HSNet).
        device (str): Where the model goes.
        init_weights (bool): Without a checkpoint: also load what the config's ``init_cfg`` declares.

    Returns:
        nn.Module: The model.
    """
    cfg = config if isinstance(config, Config) else get_model_config(config)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', SCOPE)):
        model = MODELS.build(cfg.model)
    if checkpoint is not None:
        load_model_checkpoint(model, checkpoint, rename=published_model)
    elif init_weights:
        _initialize_quietly(model)
    # Not chained: the train() of some backbones returns None.
    model.to(device).eval()
    return model
