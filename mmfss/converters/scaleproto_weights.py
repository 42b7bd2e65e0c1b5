"""Conversion of published ScaleProtoSeg models to the names of this package.

They are published as pickled Python objects, whose classes this package neither has nor wants to run: the file is read
with placeholders in place of all classes but tensors and plain containers, and the weights are collected from these.
"""
import collections
import pickle
import re
import types
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Optional, Union

import torch
from torch import Tensor

from mmfss.utils.checkpoint import CheckpointError, get_state_dict

StateDict = dict[str, Tensor]

_CONVS = dict(reduce=1, conv3x3=2, increase=3)
_DOUBLE_CONV = {'0': '0.conv', '1': '0.bn', '3': '1.conv', '4': '1.bn'}
_IGNORED = re.compile(r'(^ones$|num_batches_tracked$)')


class OfficialModel(NamedTuple):
    """Hold the content of a published file.

    Attributes:
        weights (dict): Official names to tensors.
        proto_class (Tensor, optional): Class of each prototype, shape (P,), if the file says so.
        proto_scale (Tensor, optional): Scale of each prototype, shape (P,), if the file says so.
    """
    weights: StateDict
    proto_class: Optional[Tensor] = None
    proto_scale: Optional[Tensor] = None


class _Placeholder:
    """Replace an object of a class that is not loaded; keep its attributes."""

    def __new__(cls, *args: Any, **kwargs: Any) -> '_Placeholder':
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})


class _Unpickler(pickle.Unpickler):
    """Load tensors and containers; every other class or function becomes a placeholder and is not run."""
    ALLOWED = {
        'collections': {'OrderedDict', 'defaultdict'},
        'torch': {'Size', 'device', 'float16', 'float32', 'float64', 'int32', 'int64', 'uint8', 'bool'},
        'torch._utils': {'_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter',
                         '_rebuild_parameter_with_state'},
        'builtins': {'set', 'frozenset', 'dict', 'list', 'tuple', 'int', 'float', 'bool', 'slice', 'complex'},
    }

    def find_class(self, module: str, name: str) -> Any:
        if name in self.ALLOWED.get(module, ()) or (module == 'torch' and name.endswith('Storage')):
            return super().find_class(module, name)
        return type(name.rpartition('.')[2] or 'Unknown', (_Placeholder, ), {'__module__': f'placeholder.{module}'})


_PICKLE = types.SimpleNamespace(
    __name__='pickle', Unpickler=_Unpickler, load=lambda file, **options: _Unpickler(file, **options).load())


def read_official(path: Union[str, Path]) -> OfficialModel:
    """Read a published model: a pickled module, or a state dict.

    Args:
        path (str | Path): The file.

    Returns:
        OfficialModel: Its weights and prototypes.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it holds something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'The checkpoint "{path}" does not exist.')
    try:
        content = torch.load(path, map_location='cpu', pickle_module=_PICKLE, weights_only=False)
    except Exception as error:  # Whatever a damaged pickle may raise.
        raise CheckpointError(f'The file "{path}" cannot be read: {type(error).__name__}: {error}') from error
    if isinstance(content, Mapping):
        return OfficialModel({name: value for name, value in get_state_dict(content).items()
                              if isinstance(value, Tensor)})
    if not hasattr(content, '_modules'):
        raise CheckpointError(f'The file "{path}" holds a {type(content).__name__}, neither a model nor weights.')
    attributes = vars(content)
    identity, ranges = attributes.get('prototype_class_identity'), attributes.get('scale_num_prototypes')
    return OfficialModel(
        dict(_weights(content)), None if identity is None else identity.argmax(1),
        None if ranges is None else torch.cat([torch.full((int(end) - int(start), ), int(scale))
                                               for scale, (start, end) in sorted(ranges.items())]))


def _weights(module: Any, prefix: str = '') -> Iterator[tuple[str, Tensor]]:
    for kind in ('_parameters', '_buffers'):
        for name, value in (vars(module).get(kind) or {}).items():
            if isinstance(value, Tensor):
                yield prefix + name, value.detach()
    for name, child in (vars(module).get('_modules') or {}).items():
        if child is not None:
            yield from _weights(child, f'{prefix}{name}.')


def convert_scaleproto(model: OfficialModel) -> tuple[StateDict, dict[str, Any]]:
    """Rename the weights of a published model of stage 1 or 2 with a DeepLabv2 ResNet or a U-Net.

    Args:
        model (OfficialModel): What :func:`read_official` gave.

    Returns:
        tuple[dict, dict]: Weights of a :class:`mmfss.models.ScaleProtoSegmentor`, and a description of the file.

    Raises:
        CheckpointError: If an entry is unknown or missing, or the class of a prototype is unknown.
    """
    weights = {re.sub(r'^module\.', '', name): value for name, value in model.weights.items()}
    converted: StateDict = collections.OrderedDict()
    head: StateDict = {}
    unknown = []
    # Sort the entries into backbone and head
    for name, value in weights.items():
        new = _feature_name(name)
        if new is not None:
            converted[new] = value
        elif re.fullmatch(r'prototype_vectors|last_layer(_group)?\.weight|group_projection\.\d+\.weight', name):
            head[name] = value
        elif not _IGNORED.search(name):
            unknown.append(name)
    # Check that the model is complete
    num_scales = sum('.scale_convs.' in name for name in converted) // 2
    if unknown or 'prototype_vectors' not in head:
        what = f'it has {len(unknown)} unknown entries: {", ".join(unknown[:5])}' if unknown else (
            'it has no prototype_vectors')
        raise CheckpointError(f'It is not a ScaleProtoSeg model with a DeepLabv2 ResNet or a U-Net: {what}.')
    if converted and not num_scales:
        raise CheckpointError('It is not a ScaleProtoSeg model: it has no convolutions of scales '
                              '(features.base.aspp.c0 ...), so its prototypes have one scale.')
    converted.update(_head(head, model, num_scales))
    stage = 2 if 'last_layer_group.weight' in head else 1
    return converted, dict(model='ScaleProtoSeg', stage=stage, prototypes=len(head['prototype_vectors']))


def _feature_name(name: str) -> Optional[str]:
    """Return our name of an entry of the backbone or the scale head."""
    match = re.fullmatch(r'features\.base\.layer1\.conv1\.(conv|bn)\.(\w+)', name)
    if match:
        return f'backbone.{match[1]}1.{match[2]}'
    match = re.fullmatch(r'features\.base\.layer(\d)\.block(\d+)\.(\w+)\.(conv|bn)\.(\w+)', name)
    if match:
        layer, block, part, kind, rest = match.groups()
        prefix = f'backbone.layer{int(layer) - 1}.{int(block) - 1}'
        if part == 'shortcut':
            return f'{prefix}.downsample.{int(kind == "bn")}.{rest}'
        return f'{prefix}.{kind}{_CONVS[part]}.{rest}' if part in _CONVS else None
    match = re.fullmatch(r'features\.base\.aspp\.c(\d)\.(\w+)', name)
    return f'decode_head.scale_convs.{match[1]}.{match[2]}' if match else _unet_name(name)


def _unet_name(name: str) -> Optional[str]:
    """Return our name of an entry of the U-Net; its decoder counts from the coarsest level, ours from the finest."""
    match = re.fullmatch(r'features\.base\.(?:inc|down([1-4])\.maxpool_conv\.1)\.double_conv\.([0134])\.(\w+)', name)
    if match:
        level, place, rest = match.groups()
        return f'backbone.encoder.{level or 0}.{int(level is not None)}.convs.{_DOUBLE_CONV[place]}.{rest}'
    match = re.fullmatch(r'features\.base\.up([1-4])\.(?:up|conv\.double_conv\.([0134]))\.(\w+)', name)
    if match:
        step, place, rest = match.groups()
        part = 'upsample' if place is None else f'conv_block.convs.{_DOUBLE_CONV[place]}'
        return f'backbone.decoder.{4 - int(step)}.{part}.{rest}'
    match = re.fullmatch(r'features\.base\.outc\.conv\.(\w+)', name)
    return f'backbone.project.{match[1]}' if match else None


def _head(head: StateDict, model: OfficialModel, num_scales: int) -> StateDict:
    vectors = head['prototype_vectors'].flatten(1)
    last = head.get('last_layer_group.weight', head.get('last_layer.weight'))
    if last is None:
        raise CheckpointError('It has neither last_layer.weight (stage 1) nor last_layer_group.weight (stage 2).')
    proto_class, proto_scale = _layout(model, len(vectors), len(last), num_scales)
    out = dict(
        prototypes=vectors, proto_class=proto_class, proto_scale=proto_scale,
        proto_source=torch.full((len(vectors), 4), -1))
    if 'last_layer.weight' in head:
        out['classifier.weight'] = last
    else:
        out['groups'] = _padded_groups(head, proto_class, len(last))
        out['group_classifier.weight'] = last
    return {f'decode_head.{name}': value for name, value in out.items()}


def _layout(model: OfficialModel, count: int, num_classes: int, num_scales: int) -> tuple[Tensor, Tensor]:
    """Return class and scale of each prototype; by default all classes and scales have equally many."""
    if model.proto_class is not None and model.proto_scale is not None:
        if len(model.proto_class) != count or len(model.proto_scale) != count:
            raise CheckpointError(f'It has {count} prototypes, but says the class of {len(model.proto_class)} and the '
                                  f'scale of {len(model.proto_scale)}.')
        return model.proto_class.long(), model.proto_scale.long()
    if model.proto_class is not None:
        raise CheckpointError('It is not a ScaleProtoSeg model: it says the class of each prototype, but not the scale '
                              '(scale_num_prototypes), as ProtoSeg models of one scale do.')
    each, rest = divmod(count, max(1, num_classes * num_scales))
    if rest or not each:
        raise CheckpointError(f'{count} prototypes cannot be dealt evenly to {num_classes} classes and {num_scales} '
                              'scales, so some were removed. Convert the pickled model, which knows the class of '
                              'each, not its state dict.')
    pairs = torch.cartesian_prod(torch.arange(num_scales), torch.arange(num_classes)).repeat_interleave(each, dim=0)
    return pairs[:, 1].contiguous(), pairs[:, 0].contiguous()


def _padded_groups(head: StateDict, proto_class: Tensor, num_classes: int) -> Tensor:
    """Stack the weights of the groups as (C, K, n), 0 where a class has fewer prototypes than others."""
    counts = torch.bincount(proto_class, minlength=num_classes)
    present = counts.nonzero().flatten().tolist()
    rows = [head.get(f'group_projection.{k}.weight') for k in range(len(present))]
    if any(row is None or row.shape[1] != counts[c] for row, c in zip(rows, present)):
        raise CheckpointError('Its group_projection entries do not fit the prototypes of its classes.')
    groups = torch.zeros(num_classes, len(rows[0]), int(counts.max()))
    for row, class_id in zip(rows, present):
        groups[class_id, :, :row.shape[1]] = row
    return groups
