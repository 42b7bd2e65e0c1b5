"""Features that are computed once for each picture."""
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Optional
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mmfss.registry import MODELS
from .locks import lock_of
from .position_basis import weights_state
from .pyramid import FeaturePyramid
from .reader import FeatureReader
from .wrapped import WrappedFeatures


@dataclass
class _Memory:
    """Hold the pyramids of single images by one reader of one backbone, least recently used first."""
    content: tuple
    pyramids: OrderedDict = field(default_factory=OrderedDict)
    size: int = 0

    def add(self, key: tuple, pyramid: FeaturePyramid, limit: int) -> None:
        size = _bytes(pyramid)
        if size > limit or key in self.pyramids:
            return
        self.pyramids[key] = pyramid
        self.size += size
        while self.size > limit:
            self.size -= _bytes(self.pyramids.popitem(last=False)[1])


# Outside of the modules, which can then be copied and pickled: for each backbone its weights and the memory of them.
# The last memory outlives its backbone, for the next model with the same weights.
_MEMORIES: WeakKeyDictionary = WeakKeyDictionary()
_LAST: list[_Memory] = []


@MODELS.register_module()
class RememberedFeatures(WrappedFeatures):
    """Compute the features of each picture once, while a frozen backbone sees the same pictures again and again.

    A small dataset is tested in episodes that draw the same few hundred pictures thousands of times, and a head is
    trained on them for many passes. With their features in memory, only the head is left to compute. A picture is known
    by the content of its network input, so that a flipped one is another picture. What is remembered is dropped when
    weights of the backbone change. Models with the same weights share it, as the folds and methods that
    ``tools/cross_validate.py`` tests one after the other. With gradients, or a backbone in train mode, nothing is
    remembered.

    A convolution may give other last bits for another number of images at a time, so results may differ from those
    without memory by rounding.

    Args:
        reader (dict, optional): Config of the reader. By default it is chosen by the backbone's class.
        max_gib (float): Memory for features in GiB. The least recently used are dropped. Defaults to 4.

    Raises:
        ValueError: If ``max_gib`` is not above 0.

    Example:
        >>> import torch
        >>> from mmfss.models.features import build_feature_reader
        >>> from mmfss.registry import MODELS
        >>> backbone = MODELS.build(dict(type='mmpretrain.ResNet', depth=18))
        >>> _ = backbone.eval()
        >>> reader = build_feature_reader(dict(type='RememberedFeatures'), backbone)
        >>> images = torch.rand(2, 3, 64, 64)
        >>> with torch.no_grad():
        ...     first, again = reader(backbone, images), reader(backbone, images[1:])
        >>> torch.equal(first[-1][-1][1:], again[-1][-1])
        True
    """

    def __init__(self, reader: Optional[dict] = None, max_gib: float = 4.) -> None:
        super().__init__(reader)
        if not max_gib > 0:
            raise ValueError(f'features.max_gib must be above 0, got {max_gib}.')
        self.limit = int(max_gib * 2**30)

    def fixed_for(self, backbone: nn.Module, image: Tensor) -> FeatureReader:
        return self.reader(backbone).fixed_for(backbone, image)

    def __call__(self, backbone: nn.Module, images: Tensor) -> FeaturePyramid:
        reader = self.reader(backbone)
        if torch.is_grad_enabled() or backbone.training or images.is_meta:
            return reader(backbone, images)
        keys = [_key(image) for image in images]
        with lock_of(backbone):
            memory = self._memory(backbone)
            found = {key: memory.pyramids[key] for key in keys if key in memory.pyramids}
            missing = list(dict.fromkeys(key for key in keys if key not in found))
            if missing:
                computed = reader(backbone, images[[keys.index(key) for key in missing]])
                for key, pyramid in zip(missing, computed.split([1] * len(missing))):
                    # A part of its own, which does not keep the whole batch alive.
                    found[key] = pyramid.map(torch.clone)
                    memory.add(key, found[key], self.limit)
            for key in keys:
                if key in memory.pyramids:
                    memory.pyramids.move_to_end(key)
        return FeaturePyramid.cat([found[key] for key in keys])

    def _memory(self, backbone: nn.Module) -> _Memory:
        owner = backbone._modules.get('_orig_mod', backbone)
        weights = (weights_state(owner), repr(self.reader_cfg))
        if owner not in _MEMORIES or _MEMORIES[owner][0] != weights:
            content = (_checksum(owner), repr(self.reader_cfg))
            known = [*_LAST, *(memory for _, memory in _MEMORIES.values())]
            shared = [memory for memory in known if memory.content == content]
            _MEMORIES[owner] = weights, shared[0] if shared else _Memory(content)
        _LAST[:] = [_MEMORIES[owner][1]]
        return _MEMORIES[owner][1]


def _checksum(module: nn.Module) -> bytes:
    """Compute a checksum of the class, the weights and the statistics of a backbone."""
    digest = blake2b(repr(module).encode(), digest_size=16)
    for name, value in module.state_dict().items():
        digest.update(f'{name} {value.dtype} {tuple(value.shape)} {value.device}'.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.digest()


def _key(image: Tensor) -> tuple:
    """Identify an image, and the precision that its features are computed in."""
    autocast = torch.get_autocast_dtype(image.device.type) if torch.is_autocast_enabled(image.device.type) else None
    content = image.detach().to(torch.float32).cpu().contiguous().numpy()
    return blake2b(content, digest_size=16).digest(), tuple(image.shape), image.dtype, image.device, autocast


def _bytes(pyramid: FeaturePyramid) -> int:
    return sum(feature.numel() * feature.element_size() for level in pyramid for feature in level)
