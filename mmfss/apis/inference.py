"""Construction of a model for use."""
import copy
import warnings
from pathlib import Path
from typing import Any, Optional, Union

import torch
from mmengine.config import Config

from mmfss.models import BaseFewShotSegmentor, check_training_free
from mmfss.utils.config_options import ConfigError, check_options
from .model_zoo import build_model, get_model_config

NO_CHECKPOINT = 'none'


def init_model(config: Union[str, Path, Config],
               checkpoint: Optional[Union[str, Path]] = None,
               device: Optional[str] = None,
               cfg_options: Optional[dict[str, Any]] = None) -> BaseFewShotSegmentor:
    """Build a model from its config and load its weights.

    Args:
        config (str | Path | Config): A config file (``.py``), a name of :func:`list_models`, or a config.
        checkpoint (str | Path, optional): File or address of the trained weights. It must be one of this model, weight
            by weight. Without it, the weights that the config declares (``init_cfg``) are loaded. That is all that a
            model without training needs (``model.training_free``); the head of another stays random, and a warning says
            so. ``'none'`` is the same, and an error for a model that must be trained.
        device (str, optional): Device; by default a GPU if there is one.
        cfg_options (dict, optional): Dotted keys of the config to change.

    Returns:
        BaseFewShotSegmentor: The model in eval mode, with the config in its attribute ``cfg``.

    Raises:
        UnknownModelError: If there is no model of that name, a KeyError.
        ConfigError: If the config or a changed key is wrong.
        ValueError: If there is no such device, or the checkpoint is ``'none'`` and the model must be trained.
        FileNotFoundError: If there is no such checkpoint.
        CheckpointError: If it is not a checkpoint, or one of another model.
    """
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    _check_device(device)
    # A config, its file or a name of the model zoo
    if isinstance(config, Config):
        cfg = copy.deepcopy(config)
        check_options(cfg, cfg_options or {})
        cfg.merge_from_dict(cfg_options or {})
    else:
        cfg = get_model_config(config, cfg_options)
    if cfg.get('model') is None:
        raise ConfigError(f'The config "{cfg.filename}" has no model.')
    model = build_model(cfg, None if checkpoint == NO_CHECKPOINT else checkpoint, device, init_weights=True)
    if checkpoint == NO_CHECKPOINT:
        check_training_free(model)
    elif checkpoint is None and not getattr(model, 'training_free', False):
        warnings.warn('init_model was given no checkpoint: the model is untrained.', stacklevel=2)
    model.cfg = cfg
    return model


def _check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f'The device "{device}" cannot be used: {str(error).splitlines()[0]} Here are: cpu'
                         f'{"".join(f", cuda:{number}" for number in range(torch.cuda.device_count()))}.') from error
