"""Read the weights that ``init_cfg`` names; fail before training if they are missing or do not match."""
from pathlib import Path
from typing import Iterator, Optional

from mmengine.logging import print_log
from mmengine.model import PretrainedInit, update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader, load_state_dict
from torch import Tensor, nn

from mmfss.converters.published_weights import published_backbone
from mmfss.utils.checkpoint import CheckpointError, computed_buffers, get_state_dict
from mmfss.utils.download import DownloadError, fetch_checkpoint

_MIN_SHARE = 0.9


def read_pretrained(checkpoint: str, prefix: Optional[str] = None) -> dict[str, Tensor]:
    """Read a file or address that an ``init_cfg`` of the type ``Pretrained`` names.

    With a prefix, a backbone in the layout of its publisher (torchvision's ResNet and VGG, timm's ResNet, Microsoft's
    Swin Transformer) is renamed to MMPretrain's layout, under ``backbone.``.

    Args:
        checkpoint (str): The file or address.
        prefix (str, optional): What the names of the wanted weights begin with.

    Returns:
        dict: All weights of the file, names to tensors.

    Raises:
        CheckpointError: If the file is no checkpoint, or a backbone with other weights than its publisher's.
    """
    weights = get_state_dict(CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu'))
    if prefix and not any(name.startswith(prefix) for name in weights):
        try:
            return published_backbone(weights) or weights
        except CheckpointError as error:
            raise CheckpointError(f'No name in "{checkpoint}" begins with "{prefix}". {error}') from error
    return weights


# In place of MMEngine's own: what it could load, it loads alike.
@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class PublishedInit(PretrainedInit):
    """Initialize a module from a checkpoint, also from a backbone as its publisher named the weights.

    ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')``; arguments as for MMEngine's
    ``PretrainedInit``, see also :func:`read_pretrained`.
    """

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into a module."""
        if self.prefix is None:
            super().__call__(module)
            return
        print_log(f'load {self.prefix} in model from: {self.checkpoint}', logger='current')
        prefix = self.prefix.rstrip('.') + '.'
        weights = read_pretrained(self.checkpoint, prefix)
        weights = {name[len(prefix):]: value for name, value in weights.items() if name.startswith(prefix)}
        if not weights:
            raise CheckpointError(f'The weights "{self.checkpoint}" have no name that begins with "{prefix}".')
        load_state_dict(module, weights, strict=False, logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())


def check_pretrained(model: nn.Module, key: str = 'model') -> None:
    """Check the files and addresses that the modules of a model name in ``init_cfg=dict(..., checkpoint=...)``.

    MMEngine loads those of the type ``Pretrained`` with ``strict=False``: names that do not fit are left at random
    values and logged. Other types check what they read themselves.

    Args:
        model (nn.Module): The model, before ``init_weights``.
        key (str): Where its config is in the config file, for the error.

    Raises:
        FileNotFoundError: If a file is missing; it names the file and the config key.
        DownloadError: If an address cannot be downloaded; it names the address and the config key.
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
    if source.startswith(('http://', 'https://')):
        try:
            fetch_checkpoint(source)
        except DownloadError as error:
            raise DownloadError(f'The weights of config key `{key}` are missing. {error} A file elsewhere: '
                                f'--cfg-options {key}.checkpoint=PATH') from error
    elif '://' not in source and not Path(source).expanduser().is_file():
        raise FileNotFoundError(
            f'The weights "{source}" (config key `{key}.checkpoint`) do not exist; looked for '
            f'"{Path(source).absolute()}". The README.md beside the config says where such files are published. '
            f'A file elsewhere: --cfg-options {key}.checkpoint=PATH')


def _check_content(module: nn.Module, init_cfg: dict, key: str) -> None:
    source, prefix = str(init_cfg['checkpoint']), init_cfg.get('prefix') or ''
    # Compare names and shapes
    state_dict = read_pretrained(source, prefix)
    computed = computed_buffers(module)
    own = {f'{prefix}{name}': value for name, value in module.state_dict().items() if name not in computed}
    fitting = [name for name, value in own.items() if name in state_dict and state_dict[name].shape == value.shape]
    if len(fitting) < _MIN_SHARE * len(own):
        lost = [name for name in own if name not in fitting]
        raise CheckpointError(
            f'The weights "{source}" (config key `{key}`, prefix "{prefix}") are not those of this '
            f'{type(module).__name__}: {len(fitting)} of {len(own)} entries fit. Not found, or of another shape: '
            f'{", ".join(lost[:3])}, ... The file holds {", ".join(list(state_dict)[:3])}, ... Correct '
            'the prefix, or convert the file with tools/model_converters.')
