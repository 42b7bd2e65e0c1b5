"""Readers of convolutional backbones."""
from math import prod

from torch import Tensor, nn

from mmfss.registry import MODELS
from .reader import FeatureReader


@MODELS.register_module()
class ResNetFeatures(FeatureReader):
    """Read every residual block's sum *before its last ReLU*, one level per stage.

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
    """Read every ConvNeXt block's output, one level per stage (no stage norm)."""

    families = ('ConvNeXt', )

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        return [list(stage) for stage in backbone.stages]

    def block_channels(self, block: nn.Module) -> int:
        return block.depthwise_conv.out_channels


@MODELS.register_module()
class InvertedResidualFeatures(FeatureReader):
    """Read every inverted residual's linear output, one level per reduction (MobileNetV2, MobileNetV3, EfficientNet).

    A reduction that MMSegmentation replaced by dilation begins a level too. Layers of one level may differ in width:
    these networks widen between two reductions.
    """

    families = ('MobileNetV2', 'MobileNetV3', 'EfficientNet')

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        levels: list[list[nn.Module]] = []
        dilation = 1
        names = ('InvertedResidual', 'EdgeResidual')
        for block in (module for module in backbone.modules() if type(module).__name__.startswith(names)):
            convs = [conv for conv in block.modules() if isinstance(conv, nn.Conv2d)]
            widest = max(conv.dilation[0] for conv in convs)
            if not levels or widest > dilation or prod(conv.stride[0] for conv in convs) > 1:
                levels.append([])
            dilation = max(dilation, widest)
            levels[-1].append(block)
        return levels

    def block_channels(self, block: nn.Module) -> int:
        return [conv.out_channels for conv in block.modules() if isinstance(conv, nn.Conv2d)][-1]


@MODELS.register_module()
class VGGFeatures(FeatureReader):
    """Read every convolution's output *before its ReLU*, one level per stage, and the last pooling's as a level.

    With three levels of VGG-16 these are the taps of HSNet: conv4_1 to conv4_3, conv5_1 to conv5_3, pool5. With batch
    norm it is the norm's output. The ReLU is switched to out of place, see :class:`ResNetFeatures`.
    """

    families = ('VGG', )

    def blocks(self, backbone: nn.Module) -> list[list[nn.Module]]:
        stages = [list(backbone.features[start:stop]) for start, stop in backbone.range_sub_modules]
        levels = [[block for block in stage if not isinstance(block, nn.MaxPool2d)] for stage in stages]
        return levels + [[block for block in stages[-1] if isinstance(block, nn.MaxPool2d)]]

    def taps(self, backbone: nn.Module) -> list[list[nn.Module]]:
        if not isinstance(backbone.features[-1], nn.MaxPool2d):
            raise ValueError('VGGFeatures reads the last pooling: build the VGG with with_last_pool=True.')
        return super().taps(backbone)

    def channels(self, backbone: nn.Module) -> tuple[tuple[int, ...], ...]:
        # Pooling keeps the number of channels.
        last = [conv for conv in backbone.features.modules() if isinstance(conv, nn.Conv2d)][-1]
        return tuple(
            tuple(self.block_channels(last if isinstance(block, nn.MaxPool2d) else block) for block in level)
            for level in self.taps(backbone))

    def block_channels(self, block: nn.Module) -> int:
        return block.out_channels

    def listen(self, block: nn.Module, captured: list[Tensor]) -> object:
        if isinstance(block, nn.MaxPool2d):
            return super().listen(block, captured)
        block.activate.inplace = False
        return block.activate.register_forward_pre_hook(lambda module, args: captured.append(args[0]))
