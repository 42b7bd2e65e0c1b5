"""Conversion of checkpoints of the official unrolled LRP implementation to the names of this package."""
import re
from typing import Any, Mapping

from torch import Tensor

from mmfss.utils.checkpoint import CheckpointError, get_state_dict
from .published_weights import vgg_to_mm

StateDict = dict[str, Tensor]
ENCODER = 'encoder.'
_RESNET = re.compile(r'(conv1|bn1|layer[1-4])\.')
_VGG_HIDDEN = re.compile(r'classifier\.([03])\.')


def convert_unrolled_lrp(checkpoint: Mapping[str, Any]) -> tuple[StateDict, dict[str, Any]]:
    """Rename the encoder: the classifier, of ResNet or VGG-16, with or without batch norm.

    The decoder's entries are dropped: its weights are the classifier's own. (In runs on a GPU, the official decoder had
    weights of its own; maps of such a checkpoint differ.)

    Args:
        checkpoint (Mapping): What a loader returned.

    Returns:
        tuple[dict, dict]: Weights of :class:`mmfss.models.UnrolledLRPSegmentor`, and a description of the file.

    Raises:
        CheckpointError: If there is no encoder, or it is another network.
    """
    source = {name.removeprefix('module.'): value for name, value in get_state_dict(checkpoint).items()}
    encoder = {name.removeprefix(ENCODER): value for name, value in source.items() if name.startswith(ENCODER)}
    if 'fc.weight' in encoder:
        model, converted = 'resnet', _resnet(encoder)
    elif 'classifier.6.weight' in encoder:
        model, converted = 'vgg16', _vgg(encoder)
    else:
        raise CheckpointError(f'It is not a model of unrolled LRP: it has no entries "{ENCODER}fc.weight" (ResNet) or '
                              f'"{ENCODER}classifier.6.weight" (VGG). It holds {", ".join(list(source)[:3])}, ...')
    return converted, dict(model=f'unrolled LRP, {model}', num_classes=len(converted['cls_head.fc.bias']))


def _resnet(encoder: StateDict) -> StateDict:
    unknown = [name for name in encoder if not (_RESNET.match(name) or name.startswith('fc.'))]
    if unknown:
        raise CheckpointError(f'Its encoder is not a ResNet: it has an entry "{unknown[0]}".')
    return {f'{"cls_head" if name.startswith("fc.") else "backbone"}.{name}': value
            for name, value in encoder.items()}


def _vgg(encoder: StateDict) -> StateDict:
    features = {name: value for name, value in encoder.items() if name.startswith('features.')}
    norms = any(name.endswith('running_mean') for name in features)
    renamed = _vgg_bn_to_mm(features) if norms else vgg_to_mm(features)
    converted = {f'backbone.{name}': value for name, value in renamed.items()}
    for name, value in encoder.items():
        if _VGG_HIDDEN.match(name):
            converted[f'cls_head.{name}'] = value
        elif name.startswith('classifier.6.'):
            converted[name.replace('classifier.6', 'cls_head.fc')] = value
    return converted


def _vgg_bn_to_mm(features: StateDict) -> StateDict:
    """Rename torchvision's VGG with batch norm: a convolution, its norm and its ReLU are one module of MMPretrain."""
    convs = sorted({int(name.split('.')[1]) for name, value in features.items() if value.dim() == 4})
    # A step of 3 is convolution, norm, ReLU; one more is a pooling, a module of its own.
    new, place = {}, 0
    for before, conv in zip([None, *convs], convs):
        place += 0 if before is None else conv - before - 2
        new[conv] = place
    converted = {}
    for name, value in features.items():
        _, index, kind = name.split('.')
        number = int(index)
        part = 'conv' if number in new else 'bn'
        converted[f'features.{new[number if part == "conv" else number - 1]}.{part}.{kind}'] = value
    return converted
