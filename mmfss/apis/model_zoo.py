"""Models by name: their configs, and the models themselves."""
import logging
from pathlib import Path
from typing import Any, Dict, Optional, Union

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import nn

from mmfss.converters.published_weights import published_model
from mmfss.registry import MODELS, SCOPE
from mmfss.utils.checkpoint import load_model_checkpoint
from mmfss.utils.config import load_config
from mmfss.utils.model_index import find_config, get_config_path, list_models, load_model_index

__all__ = ['build_model', 'find_config', 'get_config_path', 'get_model_config', 'is_training_free', 'list_models',
           'load_model_index']


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
        nn.Module: The model. With a checkpoint, ``trained_on`` is its record of the training pictures, see
        :class:`TrainingPicturesHook`; None if it has none.
    """
    cfg = config if isinstance(config, Config) else get_model_config(config)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', SCOPE)):
        model = MODELS.build(cfg.model)
    if checkpoint is not None:
        meta = load_model_checkpoint(model, checkpoint, rename=published_model).get('meta', {})
        model.trained_on = meta.get('trained_on')
    elif init_weights:
        _initialize_quietly(model)
    # Not chained: the train() of some backbones returns None.
    model.to(device).eval()
    return model
