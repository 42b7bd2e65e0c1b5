"""Steps of the commands that change a trained model: check the destination, build the model, save it."""
from pathlib import Path
from typing import Any, Mapping, Optional

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmfss.registry import MODELS, register_all_modules
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_output_file, dump_json


def check_destination(dst: Path) -> None:
    """Make sure that the model can be written to ``dst``, and its report beside it."""
    check_output_file(dst, 'DST')
    if dst.suffix == '.json':
        raise ConfigError(f'DST is the model, but "{dst}" is where the report goes: name another file, *.pth.')


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a config, without weights."""
    register_all_modules()
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmfss')):
        return MODELS.build(cfg.model)


def save_changed(model: nn.Module, dataset_meta: Optional[Mapping], report: Mapping[str, Any], dst: Path) -> Path:
    """Write the model, and the report as JSON beside it; return the path of the latter."""
    with atomic_path(dst) as temporary:
        weights = {name: value.cpu() for name, value in model.state_dict().items()}
        torch.save(dict(meta=dict(dataset_meta=dataset_meta), state_dict=weights), temporary)
    path = dst.with_suffix('.json')
    dump_json(report, path)
    return path
