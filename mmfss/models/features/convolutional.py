"""Readers of convolutional backbones."""
from math import prod

from torch import Tensor, nn

from mmfss.registry import MODELS
from .reader import FeatureReader


@MODELS.register_module()
class ResNetFeatures(FeatureReader):
    """Every residual block's sum *before its last ReLU*, one level per stage.

    The tap of HSNet and DCAMA. A block calls its one ReLU module two or three times; the last input counts. The ReLU
    works in place by default, which would overwrite what was read, so it is switched to out of place: the function of
    the network does not change.
    """

    families = ('ResNet', 'ResNetV1c', 'ResNetV1d', 'ResNeXt')

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        return [list(getattr(backbone, name)) for name in backbone.res_layers]

    def block_channels(self, block: nn.Module) -> int:
        last = block.conv3 if hasattr(block, 'conv3') else block.conv2
        return last.out_channels

    def listen(self, block: nn.Module, captured: list[Tensor]) -> object:
        block.relu.inplace = False
        index = len(captured)
        captured.append(None)

        def keep_last(module: nn.Module, args: tuple[Tensor]) -> None:
            captured[index] = args[0]

        return block.relu.register_forward_pre_hook(keep_last)


@MODELS.register_module()
class ConvNeXtFeatures(FeatureReader):
    """Every ConvNeXt block's output, one level per stage (no stage norm)."""

    families = ('ConvNeXt', )

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        return [list(stage) for stage in backbone.stages]

    def block_channels(self, block: nn.Module) -> int:
        return block.depthwise_conv.out_channels


@MODELS.register_module()
class InvertedResidualFeatures(FeatureReader):
    """Every inverted residual's linear output, one level per reduction (MobileNetV2, MobileNetV3).

    A reduction that MMSegmentation replaced by dilation begins a level too. Layers of one level may differ in width:
    these networks widen between two reductions.
    """

    families = ('MobileNetV2', 'MobileNetV3')

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        levels: list[list[nn.Module]] = []
        dilation = 1
        for block in (m for m in backbone.modules() if type(m).__name__.startswith('InvertedResidual')):
            convs = [conv for conv in block.modules() if isinstance(conv, nn.Conv2d)]
            widest = max(conv.dilation[0] for conv in convs)
            if not levels or widest > dilation or prod(conv.stride[0] for conv in convs) > 1:
                levels.append([])
            dilation = max(dilation, widest)
            levels[-1].append(block)
        return levels

    def block_channels(self, block: nn.Module) -> int:
        return [conv.out_channels for conv in block.modules() if isinstance(conv, nn.Conv2d)][-1]
