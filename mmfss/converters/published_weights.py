"""Conversion of published weights to the names of this package.

A converted file holds ``state_dict`` and ``meta``. The backbone is under ``backbone.`` with the names of MMPretrain
(and MMSegmentation), the method's head under ``head.``. A converted backbone is loaded by
``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')``.
"""
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

import torch
from torch import Tensor

from mmfss.utils.checkpoint import CheckpointError, get_state_dict, load_from_local
from mmfss.utils.files import atomic_path
from .weight_layouts import (
    DCAMA_BACKBONES,
    DMTNET_BACKBONES,
    HSNET_BACKBONES,
    Layout,
    dcama_layout,
    dmtnet_layout,
    hsnet_layout,
    resnet_layout,
    swin_layout,
    vgg_layout,
)

StateDict = Dict[str, Tensor]
Converter = Callable[[Mapping[str, Any]], Tuple[StateDict, Dict[str, Any]]]

# Entries that a file may lack: classifiers, tables that are computed, counters.
_COMPUTED = re.compile(r'(^|\.)(attn_mask|relative_position_index|pe\.\d\.pe|num_batches_tracked)$')
_OPTIONAL = re.compile(rf'(^|\.)(fc\.\w+|head\.\w+|classifier\.\d\.\w+)$|{_COMPUTED.pattern}')
_DROPPED = re.compile(r'(^|\.)(fc\.\w+|head\.\w+|classifier\.\d\.\w+|attn_mask|pe\.\d\.pe)$')

_SWIN_NAMES = ((r'^patch_embed\.proj\.', 'patch_embed.projection.'), (r'^layers\.', 'stages.'),
               (r'\.attn\.', '.attn.w_msa.'), (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
               (r'\.mlp\.fc2\.', '.ffn.layers.1.'), (r'^norm\.', 'norm3.'))
_DCAMA_CONVS = dict(conv1='refine.2', conv2='refine.1', conv3='refine.0', conv4='merge.1', conv5='merge.0')
_DCAMA_PROJECTIONS = ('query', 'key')
_HPN_BLOCKS = {'4': 'squeeze.0', '3': 'squeeze.1', '2': 'squeeze.2', '4to3': 'mix.0', '3to2': 'mix.1'}
_HPN_CONVS = dict(conv1='query_conv', conv2='support_conv')


def unfold_order(x: Tensor) -> Tensor:
    """Reorder the 4C inputs of Swin's patch merging from Microsoft's order to MMPretrain's.

    Microsoft stacks the four tokens of a 2 x 2 cell one after the other, column by column: entry (r + 2s) C + c for
    channel c, row r, column s. MMPretrain's unfold puts the same number at 4c + 2r + s.

    Args:
        x (Tensor): Shape (..., 4C).

    Returns:
        Tensor: The same shape.
    """
    return x.unflatten(-1, (2, 2, -1)).movedim((-3, -2, -1), (-1, -2, -3)).flatten(-3)


def swin_to_mm(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Rename Microsoft's Swin Transformer weights for MMPretrain, without classifier and attention masks."""
    converted = {}
    for name, value in state_dict.items():
        if _DROPPED.search(name):
            continue
        if '.downsample.' in name:
            value = unfold_order(value)
        for pattern, replacement in _SWIN_NAMES:
            name = re.sub(pattern, replacement, name)
        converted[name] = value
    return converted


def resnet_to_mm(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Convert torchvision's ResNet weights for MMPretrain's ``ResNet``: same names, without the classifier."""
    return {name: value for name, value in state_dict.items() if not _DROPPED.search(name)}


def vgg_to_mm(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Rename torchvision's VGG weights (no batch norm) for MMPretrain's ``VGG``, without the classifier.

    torchvision numbers convolutions, ReLUs and poolings; in MMPretrain a convolution and its ReLU are one module.
    """
    places = sorted({int(name.split('.')[1]) for name in state_dict if name.startswith('features.')})
    # Between two convolutions is a ReLU, and sometimes a pooling.
    steps = [after - before - 1 for before, after in zip(places, places[1:])]
    new = {place: sum(steps[:order]) for order, place in enumerate(places)}
    converted = {}
    for name, value in state_dict.items():
        if not _DROPPED.search(name):
            _, place, kind = name.split('.')
            converted[f'features.{new[int(place)]}.conv.{kind}'] = value
    return converted


def hpn_learner_to_mmfss(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Rename the weights of the official HSNet learner (names without ``hpn_learner.``) for our learner."""
    return {_hpn_name(name): value for name, value in state_dict.items()}


def _hpn_name(name: str) -> str:
    block = re.fullmatch(r'encoder_layer(\w+)\.(\d)\.(.+)', name)
    if not block:
        return name
    level, place, rest = block.groups()
    module, _, kind = rest.partition('.')
    return '.'.join(filter(None, (_HPN_BLOCKS[level], place, _HPN_CONVS.get(module, module), kind)))


def references_to_mmfss(state_dict: Mapping[str, Tensor], backbone: str) -> StateDict:
    """Rename DMTNet's reference rows (``reference_layer1`` to ``6``) for :class:`DMTNetHead`.

    Biases have no part in the forward pass and are dropped; so are the layers 3 and 6 of VGG-16, which are not used.
    """
    converted = {}
    for place in range(1, 7):
        side, group = ('support', 'query')[place > 3], (place - 1) % 3
        if backbone != 'vgg16' or group < 2:
            converted[f'references.{side}.{group}'] = state_dict[f'reference_layer{place}.weight']
    return converted


def dcama_head_to_mmfss(state_dict: Mapping[str, Tensor]) -> StateDict:
    """Rename the weights of the official DCAMA head (names without ``model.``) for :class:`DCAMAHead`."""
    return {_dcama_head_name(name): value for name, value in state_dict.items() if not _DROPPED.search(name)}


def _dcama_head_name(name: str) -> str:
    projection = re.fullmatch(r'DCAMA_blocks\.(\d)\.linears\.([01])\.(\w+)', name)
    if projection:
        block, index, kind = projection.groups()
        return f'attention.{block}.{_DCAMA_PROJECTIONS[int(index)]}.{kind}'
    module, rest = name.split('.', 1)
    return f'{_DCAMA_CONVS.get(module, module)}.{rest}'


def convert_dcama(checkpoint: Mapping[str, Any]) -> Tuple[StateDict, Dict[str, Any]]:
    """Convert a checkpoint of the official DCAMA implementation, whose backbone is inside.

    The backbone (resnet50, resnet101, swin) is found by comparing with the entries of each. Names count first, with or
    without ``module.``. If they are others, the order decides: number of entries and every shape must agree, with the
    entries that are computed or without all of them.

    Args:
        checkpoint (Mapping): What a loader returned.

    Returns:
        tuple[dict, dict]: Weights of a :class:`FewShotSegmentor` (``backbone.*``, ``head.*``), and a description.

    Raises:
        CheckpointError: If the entries fit none of the three; it lists the differences to the nearest.
    """
    source = _weights(checkpoint)
    layouts = {backbone: dcama_layout(backbone) for backbone in DCAMA_BACKBONES}
    # Match by name, else by the order of the shapes
    fits = [(name, layout) for name, layout in layouts.items() if not _differences(source, layout)]
    matched_by = 'name'
    if not fits:
        shapes = [tuple(value.shape) for value in source.values()]
        stored = {backbone: {name: shape for name, shape in layout.items() if not _COMPUTED.search(name)}
                  for backbone, layout in layouts.items()}
        orders = [*layouts.items(), *stored.items()]
        fits = [(name, layout) for name, layout in orders if shapes == list(layout.values())]
        matched_by = 'position'
    if not fits:
        raise _no_fit('an official DCAMA model', source, layouts)
    backbone, layout = fits[0]
    if matched_by == 'position':
        source = dict(zip(layout, source.values()))
    # Rename
    to_mm = swin_to_mm if backbone == 'swin' else resnet_to_mm
    state_dict = {
        **_prefixed(to_mm(_under(source, 'feature_extractor.')), 'backbone.'),
        **_prefixed(dcama_head_to_mmfss(_under(source, 'model.')), 'head.')
    }
    return state_dict, dict(model=f'DCAMA {backbone}', matched_by=matched_by)


def convert_hsnet(checkpoint: Mapping[str, Any]) -> Tuple[StateDict, Dict[str, Any]]:
    """Convert a checkpoint of the official HSNet implementation, whose backbone is inside.

    Args:
        checkpoint (Mapping): What a loader returned. The backbone (resnet50, resnet101, vgg16) is found by the names,
            with or without ``module.``.

    Returns:
        tuple[dict, dict]: Weights of a :class:`FewShotSegmentor` (``backbone.*``, ``head.*``), and a description.

    Raises:
        CheckpointError: If the entries fit none of the three; it lists the differences to the nearest.
    """
    source = _weights(checkpoint)
    backbone = _named_backbone(source, 'HSNet', {name: hsnet_layout(name) for name in HSNET_BACKBONES})
    return _correlation_model(source, backbone), dict(model=f'HSNet {backbone}')


def convert_dmtnet(checkpoint: Mapping[str, Any]) -> Tuple[StateDict, Dict[str, Any]]:
    """Convert a checkpoint of the official DMTNet implementation (resnet50 or vgg16 inside)."""
    source = _weights(checkpoint)
    backbone = _named_backbone(source, 'DMTNet', {name: dmtnet_layout(name) for name in DMTNET_BACKBONES})
    references = _prefixed(references_to_mmfss(source, backbone), 'head.')
    return {**_correlation_model(source, backbone), **references}, dict(model=f'DMTNet {backbone}')


def _named_backbone(source: StateDict, method: str, layouts: Mapping[str, Layout]) -> str:
    fits = [name for name, layout in layouts.items() if not _differences(source, layout)]
    if not fits:
        raise _no_fit(f'an official {method} model', source, layouts)
    return fits[0]


def _correlation_model(source: StateDict, backbone: str) -> StateDict:
    to_mm = vgg_to_mm if backbone == 'vgg16' else resnet_to_mm
    return {
        **_prefixed(to_mm(_under(source, 'backbone.')), 'backbone.'),
        **_prefixed(hpn_learner_to_mmfss(_under(source, 'hpn_learner.')), 'head.learner.')
    }


def convert_swin(checkpoint: Mapping[str, Any]) -> Tuple[StateDict, Dict[str, Any]]:
    """Convert a Swin Transformer (V1) of the official implementation, of any width, depth and window.

    Args:
        checkpoint (Mapping): What a loader returned, with the weights at the top or under ``model``.

    Returns:
        tuple[dict, dict]: Weights under ``backbone.*``, and a description of the file.

    Raises:
        CheckpointError: If the entries are not those of such a network; it lists the differences.
    """
    source = _weights(checkpoint)
    layout = _swin_layout_of(source)
    if layout is None or _differences(source, layout):
        base = swin_layout(128, (2, 2, 18, 2), (4, 8, 16, 32), 12, 384)
        raise _no_fit('a Swin Transformer of the official implementation', source, {'swin': layout or base})
    return _prefixed(swin_to_mm(source), 'backbone.'), dict(model='Swin Transformer')


def _swin_layout_of(source: StateDict) -> Optional[Layout]:
    blocks = [re.match(r'layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table$', name) for name in source]
    found = [(int(match[1]), int(match[2]), source[match[0]].shape) for match in blocks if match]
    stem = source.get('patch_embed.proj.weight')
    if not found or stem is None or any(len(shape) != 2 for _, _, shape in found):
        return None
    stages = sorted({stage for stage, _, _ in found})
    depths = [1 + max(block for stage, block, _ in found if stage == i) for i in stages]
    heads = [next(shape[1] for stage, _, shape in found if stage == i) for i in stages]
    window = (round(found[0][2][0]**0.5) + 1) // 2
    return swin_layout(stem.shape[0], depths, heads, window, image_size=32 * window)


def convert_resnet(checkpoint: Mapping[str, Any]) -> Tuple[StateDict, Dict[str, Any]]:
    """Convert a ResNet-18, 34, 50, 101 or 152 with torchvision's names (timm's files carry the same), or one of
    torchvision's VGG-11, 13, 16 and 19 without batch norm.

    Args:
        checkpoint (Mapping): What a loader returned.

    Returns:
        tuple[dict, dict]: Weights under ``backbone.*``, and a description of the file.

    Raises:
        CheckpointError: If the entries are not those of such a network; it lists the differences to the nearest.
    """
    source = _weights(checkpoint)
    layouts = {f'resnet{depth}': resnet_layout(depth) for depth in (18, 34, 50, 101, 152)}
    layouts.update({f'vgg{depth}': vgg_layout(depth) for depth in (11, 13, 16, 19)})
    fits = [name for name, layout in layouts.items() if not _differences(source, layout)]
    if not fits:
        raise _no_fit("a ResNet with torchvision's names, or a VGG without batch norm", source, layouts)
    to_mm = vgg_to_mm if fits[0].startswith('vgg') else resnet_to_mm
    return _prefixed(to_mm(source), 'backbone.'), dict(model=fits[0])


def published_backbone(weights: Mapping[str, Any]) -> Optional[StateDict]:
    """Recognize a backbone that its publisher named otherwise than MMPretrain, and rename its weights.

    Args:
        weights (Mapping): What a loader returned: a ResNet or VGG of torchvision or timm, or a Swin Transformer of its
            authors.

    Returns:
        dict, optional: Weights under ``backbone.*``; None if they are neither.

    Raises:
        CheckpointError: If they begin like one of them, but differ; it lists the differences.
    """
    source = _weights(weights)
    if 'conv1.weight' in source or 'features.0.weight' in source:
        return convert_resnet(source)[0]
    return convert_swin(source)[0] if 'patch_embed.proj.weight' in source else None


def published_model(checkpoint: Mapping[str, Any]) -> Optional[StateDict]:
    """Recognize a whole model of an official implementation (DCAMA, DMTNet, HSNet), and rename its weights.

    Args:
        checkpoint (Mapping): What a loader returned.

    Returns:
        dict, optional: Weights of a :class:`FewShotSegmentor`; None if it is none of these models.

    Raises:
        CheckpointError: If it begins like one of them, but differs; it lists the differences.
    """
    source = _weights(checkpoint)
    marks = {'model.DCAMA_blocks.': convert_dcama, 'reference_layer': convert_dmtnet, 'hpn_learner.': convert_hsnet}
    for mark, convert in marks.items():
        if any(name.startswith(mark) for name in source):
            return convert(source)[0]
    return None


def convert_file(convert: Converter, source: Union[str, Path], target: Union[str, Path]) -> Dict[str, Any]:
    """Read a file, convert it and write the result in one step.

    Args:
        convert (Callable): One of the ``convert_*`` functions above.
        source (str | Path): The published file.
        target (str | Path): The file to write.

    Returns:
        dict: The ``meta`` of the new file.

    Raises:
        FileNotFoundError: If there is no source.
        CheckpointError: If it is not a checkpoint, or one of another model; it names the file and the differences.
    """
    checkpoint = load_from_local(source, map_location='cpu')
    try:
        state_dict, found = convert(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f'"{source}" was not converted. {error}') from error
    meta = dict(source=Path(source).name, **found)
    # Views of a shared storage would be written with all of it.
    state_dict = {name: value.clone() for name, value in state_dict.items()}
    with atomic_path(target) as temporary:
        torch.save(dict(state_dict=state_dict, meta=meta), temporary)
    return meta


def _weights(checkpoint: Mapping[str, Any]) -> StateDict:
    """Find the tensors of a checkpoint, under any of the published keys."""
    if isinstance(checkpoint.get('model'), Mapping):
        checkpoint = checkpoint['model']
    return {name: value for name, value in get_state_dict(checkpoint).items() if isinstance(value, Tensor)}


def _differences(source: StateDict, layout: Layout) -> List[str]:
    """List the differences between a file and a layout, one line per entry."""
    missing = [f'missing: {name}' for name in layout if name not in source and not _OPTIONAL.search(name)]
    unexpected = [f'unexpected: {name}' for name in source if name not in layout and not _OPTIONAL.search(name)]
    shapes = [
        f'{name}: shape {tuple(source[name].shape)} instead of {shape}' for name, shape in layout.items()
        if name in source and tuple(source[name].shape) != shape and not _OPTIONAL.search(name)
    ]
    return shapes + missing + unexpected


def _no_fit(expected: str, source: StateDict, layouts: Mapping[str, Layout], limit: int = 12) -> CheckpointError:
    differences = {name: _differences(source, layout) for name, layout in layouts.items()}
    nearest = min(differences, key=lambda name: len(differences[name]))
    lines = differences[nearest]
    more = [f'and {len(lines) - limit} more'] if len(lines) > limit else []
    return CheckpointError(f'It is not {expected}: {len(source)} entries, {len(lines)} differences to the nearest '
                           f'({nearest}, {len(layouts[nearest])} entries):\n  ' + '\n  '.join(lines[:limit] + more))


def _under(state_dict: StateDict, prefix: str) -> StateDict:
    return {name[len(prefix):]: value for name, value in state_dict.items() if name.startswith(prefix)}


def _prefixed(state_dict: StateDict, prefix: str) -> StateDict:
    return {prefix + name: value for name, value in state_dict.items()}


# By the name of the method or of the library.
CONVERTERS: Mapping[str, Converter] = dict(
    dcama=convert_dcama, dmtnet=convert_dmtnet, hsnet=convert_hsnet, swin=convert_swin, torchvision=convert_resnet)
