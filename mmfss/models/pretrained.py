"""Fail before training if an ``init_cfg`` checkpoint is missing or does not match."""
from pathlib import Path
from typing import Iterator

from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmfss.utils.checkpoint import CheckpointError, computed_buffers, get_state_dict

_MIN_SHARE = 0.9


def check_pretrained(model: nn.Module, key: str = 'model') -> None:
    """Check the files that the modules of a model name in ``init_cfg=dict(..., checkpoint=...)``.

    MMEngine loads those of the type ``Pretrained`` with ``strict=False``: names that do not fit are left at random
    values and logged. Other types check what they read themselves.

    Args:
        model (nn.Module): The model, before ``init_weights``.
        key (str): Where its config is in the config file, for the error.

    Raises:
        FileNotFoundError: If a file is missing; it names the file and the config key.
        CheckpointError: If a ``Pretrained`` file is no checkpoint, or less than 90 % of the module's weights are in it.
    """
    for name, module in model.named_modules():
        for init_cfg in _cfgs_with_a_file(module):
            where = '.'.join(filter(None, (key, name, 'init_cfg')))
            _check_existence(str(init_cfg['checkpoint']), where)
            if init_cfg['type'] == 'Pretrained':
                _check_content(module, init_cfg, where)


def _cfgs_with_a_file(module: nn.Module) -> Iterator[dict]:
    init_cfg = getattr(module, 'init_cfg', None) or []
    return (cfg for cfg in ([init_cfg] if isinstance(init_cfg, dict) else init_cfg) if cfg.get('checkpoint'))


def _check_existence(source: str, key: str) -> None:
    if '://' not in source and not Path(source).expanduser().is_file():
        raise FileNotFoundError(
            f'The weights "{source}" (config key `{key}.checkpoint`) do not exist; looked for '
            f'"{Path(source).absolute()}". Where the files are published and how they are converted is written in the '
            f'README.md beside the config. A file elsewhere: --cfg-options {key}.checkpoint=PATH')


def _check_content(module: nn.Module, init_cfg: dict, key: str) -> None:
    source, prefix = str(init_cfg['checkpoint']), init_cfg.get('prefix') or ''
    # Compare names and shapes
    state_dict = get_state_dict(CheckpointLoader.load_checkpoint(source, map_location='cpu'))
    computed = computed_buffers(module)
    own = {f'{prefix}{name}': value for name, value in module.state_dict().items() if name not in computed}
    fitting = [name for name, value in own.items() if name in state_dict and state_dict[name].shape == value.shape]
    if len(fitting) < _MIN_SHARE * len(own):
        lost = [name for name in own if name not in fitting]
        raise CheckpointError(
            f'The weights "{source}" (config key `{key}`, prefix "{prefix}") are not those of this '
            f'{type(module).__name__}: {len(fitting)} of {len(own)} entries fit. Not found, or of another shape: '
            f'{", ".join(lost[:3])}, ... The file holds {", ".join(list(state_dict)[:3])}, ... Convert it with '
            'tools/model_converters, or correct the prefix.')
