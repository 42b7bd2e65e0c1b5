"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6."""
import re
from typing import Any, Mapping

from torch import Tensor

from mmfss.registry import MODELS
from mmfss.utils.mmpretrain_multimodal import import_multimodal_models

import_multimodal_models()  # MMPretrain's first import follows: what is wrong with it should be told in our words
from mmpretrain.models import EfficientNet  # noqa: E402

# Of each of seven groups of blocks: kernel, stride of the first block, expansion, stage.
_GROUPS = ((3, 1, 1, 1), (3, 2, 6, 2), (5, 2, 6, 3), (3, 2, 6, 4), (5, 1, 6, 4), (5, 2, 6, 5), (3, 1, 6, 5))
_WIDTHS = {
    '0': (16, 24, 40, 80, 112, 192, 320),
    '1': (16, 24, 40, 80, 112, 192, 320),
    '2': (16, 24, 48, 88, 120, 208, 352),
}
_REPEATS = {'0': (1, 2, 2, 3, 3, 4, 1), '1': (1, 3, 3, 4, 4, 5, 1), '2': (1, 3, 3, 4, 4, 5, 1)}


def _layer_setting(arch: str) -> list[list[list[int]]]:
    """Write the stages in the way of MMPretrain: rows of kernel, channels, no SE, stride, expansion, block type."""
    stages: list[list[list[int]]] = [[] for _ in range(5)]
    for (kernel, stride, expansion, stage), channels, repeats in zip(_GROUPS, _WIDTHS[arch], _REPEATS[arch]):
        for index in range(repeats):
            stages[stage - 1].append([kernel, channels, 0, 1 if index else stride, expansion, 0])
    return [[[3, 32, 0, 2, 0, -1]], *stages, [[1, 1280, 0, 1, 0, -1]]]


@MODELS.register_module()
class EfficientNetLite(EfficientNet):
    """EfficientNet-Lite0, 1 or 2.

    The blocks have no squeeze-and-excitation and end their convolutions in ReLU6; stem (32) and head (1280 channels)
    are not scaled. The published weights expect RGB images normalized to (pixel - 127) / 128 and TensorFlow's padding,
    which equals ordinary padding for sides of 32 k + 1 pixels. They come from Python packages, see
    :class:`PackagedWeights`. Lite2 has 21 blocks: 1, 3, 3, 8 and 6 at strides 2, 4, 8, 16 and 32.

    Source: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite

    Args:
        arch (str): ``'0'``, ``'1'`` or ``'2'``. Defaults to ``'2'``.
        **kwargs: See MMPretrain's ``EfficientNet``; ``out_indices`` (1 to 5: stages; 6: the head's convolution).

    Example:
        >>> import torch
        >>> from mmfss.registry import MODELS
        >>> backbone = MODELS.build(dict(type='EfficientNetLite', arch='2', out_indices=(4, 5)))
        >>> [tuple(output.shape) for output in backbone(torch.rand(1, 3, 65, 65))]  # strides 16 and 32
        [(1, 120, 5, 5), (1, 352, 3, 3)]
    """

    arch_settings = {'0': (1., 1., 224), '1': (1., 1., 240), '2': (1., 1., 260)}
    layer_settings = {arch: _layer_setting(arch) for arch in arch_settings}

    def __init__(self, arch: str = '2', **kwargs: Any) -> None:
        if arch not in self.arch_settings:
            raise ValueError(f'EfficientNetLite has arch "0", "1" or "2", got {arch!r}.')
        super().__init__(arch, **{'act_cfg': dict(type='ReLU6'), **kwargs})


_CONVOLUTIONS = {'_expand_conv': 'expand_conv', '_depthwise_conv': 'depthwise_conv', '_project_conv': 'linear_conv'}
_NORMS = {'_bn0': 'expand_conv', '_bn1': 'depthwise_conv', '_bn2': 'linear_conv'}
_ENDS = {
    '_conv_stem': 'backbone.layers.0.conv', '_bn0': 'backbone.layers.0.bn',
    '_conv_head': 'backbone.layers.6.conv', '_bn1': 'backbone.layers.6.bn', '_fc': 'head.fc',
}  # yapf: disable


def rename_efficientnet_lite(state_dict: Mapping[str, Tensor], arch: str) -> dict[str, Tensor]:
    """Rename published weights to those of an MMPretrain classifier.

    Args:
        state_dict (Mapping): Weights as in the packages, e.g. ``_blocks.4._bn1.weight``.
        arch (str): ``'0'``, ``'1'`` or ``'2'``.

    Returns:
        dict: ``backbone.layers.*``, and ``head.fc.*`` of the classifier of 1000 ImageNet classes.

    Raises:
        KeyError: If a name is none of an EfficientNet-Lite.
    """
    stages = EfficientNetLite.layer_settings[arch][1:-1]
    places = [f'backbone.layers.{stage}.{index}' for stage, rows in enumerate(stages, 1) for index in range(len(rows))]

    def rename(name: str) -> str:
        block = re.fullmatch(r'_blocks\.(\d+)\.(\w+)\.(\w+)', name)
        if block is None:
            module, leaf = name.rsplit('.', 1)
            return f'{_ENDS[module]}.{leaf}'
        place, module, leaf = places[int(block[1])], block[2], block[3]
        if module in _CONVOLUTIONS:
            return f'{place}.{_CONVOLUTIONS[module]}.conv.{leaf}'
        return f'{place}.{_NORMS[module]}.bn.{leaf}'

    return {rename(name): value for name, value in state_dict.items()}
