"""Networks as chains of layers, which relevance walks from the end to the start."""
from dataclasses import dataclass
from typing import Iterator, Sequence, Union

from mmcv.cnn.bricks import wrappers
from mmpretrain.models.backbones import VGG
from mmpretrain.models.backbones import ResNet as MMPretrainResNet
from mmseg.models.backbones import ResNet as MMSegResNet
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmfss.utils.config_options import ConfigError

CONVS, LINEARS = (nn.Conv2d, wrappers.Conv2d), (nn.Linear, wrappers.Linear)
POOLS = (nn.MaxPool2d, wrappers.MaxPool2d)
RULED = (*CONVS, *LINEARS, *POOLS, nn.AdaptiveAvgPool2d, nn.BatchNorm2d, nn.SyncBatchNorm)
"""Layers with a relevance rule, by their exact type."""
PASSED = (nn.ReLU, nn.Dropout, nn.Dropout2d, nn.Identity)
"""Layers that relevance passes unchanged."""


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        name (str): In the classifier.
        module (Module): One of :data:`RULED`.
        relu (bool): Of batch norm, whether a ReLU follows directly.
    """
    name: str
    module: nn.Module
    relu: bool = False


@dataclass(frozen=True)
class Residual:
    """A residual block: the sum of two branches, and a ReLU.

    Attributes:
        name (str): In the classifier.
        main (Sequence[Layer]): Ends with batch norm.
        shortcut (Sequence[Layer]): Empty for the identity, else a convolution and batch norm.
    """
    name: str
    main: Sequence[Layer]
    shortcut: Sequence[Layer]


Chain = list[Union[Layer, Residual]]


def chain_of(backbone: nn.Module, cls_head: nn.Module) -> Chain:
    """Describe a classifier as a chain, from the image to the logits.

    Args:
        backbone (Module): ResNet of MMPretrain or MMSegmentation, or VGG of MMPretrain without its classifier.
        cls_head (Module): With ``layers``, its pools and linear layers by name, in order.

    Returns:
        list[Layer | Residual]: The chain.

    Raises:
        ConfigError: If a layer has no rule; names it.
    """
    if isinstance(backbone, (MMPretrainResNet, MMSegResNet)):
        chain = _resnet_chain(backbone)
    elif isinstance(backbone, VGG):
        chain = _vgg_chain(backbone)
    else:
        raise ConfigError(
            f'model.backbone {type(backbone).__name__} has no relevance rules; ResNet and VGG have. Use '
            "model.decode_head.type='GradientInputHead', which takes any network.")
    chain += [Layer(f'cls_head.{name}', module) for name, module in cls_head.layers]
    _check_layers(backbone, 'backbone', layers_of(chain))
    return chain


def layers_of(chain: Chain) -> Iterator[Layer]:
    """Iterate over all layers of a chain, those of residual blocks too."""
    for step in chain:
        if isinstance(step, Residual):
            yield from (*step.main, *step.shortcut)
        else:
            yield step


def _resnet_chain(backbone: nn.Module) -> Chain:
    """Stem, pooling, and the residual blocks of all stages."""
    # A deep stem is a Sequential of convolutions, each with batch norm and ReLU.
    stem = [module for module in (backbone.stem.modules() if backbone.deep_stem else (backbone.conv1, backbone.norm1))
            if isinstance(module, (nn.Conv2d, _BatchNorm))]
    chain: Chain = [Layer(f'backbone.stem.{number}', module, relu=isinstance(module, _BatchNorm))
                    for number, module in enumerate(stem)]
    chain.append(Layer('backbone.maxpool', backbone.maxpool))
    last = max(backbone.out_indices)
    for stage in backbone.res_layers[:last + 1]:
        for number, block in enumerate(getattr(backbone, stage)):
            chain.append(_residual(f'backbone.{stage}.{number}', block))
    return chain


def _residual(name: str, block: nn.Module) -> Residual:
    main = []
    depth = 3 if hasattr(block, 'conv3') else 2
    for number in range(1, depth + 1):
        main.append(Layer(f'{name}.conv{number}', getattr(block, f'conv{number}')))
        main.append(Layer(f'{name}.bn{number}', getattr(block, f'norm{number}'), relu=number < depth))
    downsample = [] if block.downsample is None else list(block.downsample)
    return Residual(name, main, [Layer(f'{name}.downsample.{i}', module) for i, module in enumerate(downsample)])


def _vgg_chain(backbone: VGG) -> Chain:
    """Convolutions, each with batch norm if the network has it, and pools."""
    if backbone.num_classes > 0:
        raise ConfigError('model.backbone.num_classes must be -1 for a VGG: its classifier, which takes inputs of any '
                          "size, is model.cls_head=dict(type='VGGClassifier', num_classes=...).")
    chain: Chain = []
    for index, module in enumerate(backbone.features):
        name = f'backbone.features.{index}'
        if isinstance(module, nn.MaxPool2d):
            chain.append(Layer(name, module))
            continue
        chain.append(Layer(f'{name}.conv', module.conv))
        if module.with_norm:
            chain.append(Layer(f'{name}.bn', module.norm, relu=True))
    return chain


def _check_layers(backbone: nn.Module, prefix: str, layers: Iterator[Layer]) -> None:
    """Refuse what would be passed over, or treated as what it is not."""
    known = {layer.module for layer in layers if type(layer.module) in RULED}
    for name, module in backbone.named_modules(prefix=prefix):
        place = f'model.{name} ({type(module).__name__})'
        if getattr(module, 'drop_prob', 0):
            raise ConfigError(f'{place}: drop path must be 0 for relevance propagation, it is {module.drop_prob}.')
        if getattr(module, 'with_cp', False):
            raise ConfigError(f'{place}: with_cp must be False; layers that are run twice cannot be recorded.')
        if isinstance(module, nn.Conv2d) and (module.padding_mode != 'zeros' or isinstance(module.padding, str)):
            raise ConfigError(f'{place}: convolutions must be padded with zeros, by numbers.')
        container = isinstance(module, nn.Sequential) or next(module.children(), None) is not None
        if not container and type(module) not in PASSED and module not in known and not _unused(name, backbone):
            raise ConfigError(
                f'{place}: this layer has no relevance rule here. Use a plain ResNet or VGG, or '
                "model.decode_head.type='GradientInputHead', which takes any network.")


def _unused(name: str, backbone: nn.Module) -> bool:
    """Check whether a layer belongs to a stage beyond the last one that is used."""
    stages = getattr(backbone, 'res_layers', [])
    return any(f'.{stage}.' in name for stage in stages[max(backbone.out_indices) + 1:])
