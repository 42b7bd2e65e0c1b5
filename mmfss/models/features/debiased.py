"""Features with and without the directions that encode the position."""
from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfss.registry import MODELS
from ..layers.precision import full_precision
from .position_basis import PositionBasis, kept_basis
from .pyramid import FeaturePyramid
from .reader import FeatureReader
from .wrapped import WrappedFeatures

SHARE_OF_CHANNELS = 1 / 8
"""Directions removed by default, as a share of the channels; chosen on training classes (configs/insid3/README.md)."""


@MODELS.register_module()
class DebiasedFeatures(WrappedFeatures):
    """Read the deepest map of another reader as unit vectors, twice: as they are, and without positional directions.

    Source: INSID3 (CVPR 2026). Features of a vision transformer tell where in the image a position lies. Inside one
    image that helps to find its parts; across images it misleads. The directions of the position are those along which
    the features of a black image vary. They depend on the backbone and the size of the image alone, and are computed
    once for each: one pass of the backbone and an eigendecomposition. If weights change, they are computed again.

    Letters: B images, C channels, s removed directions. The pyramid has one level of two maps: X, unit vectors
    (B, C, h, w), and D, the unit vectors of what the directions leave. D holds its C - s coordinates along the other
    directions, which have the same dot products as its C channels and cost less.

    Args:
        reader (dict, optional): Config of the reader. By default it is chosen by the backbone's class.
        num_components (int, optional): s, from 0 (D is X) to C - 1. The paper removes 500 of the 1024 channels of
            DINOv3 ViT-L/16. By default it is C / 8, rounded.
        mean (Sequence[float]): Mean colour of the data preprocessor, which a black image is normalized with. Defaults
            to ImageNet's.
        std (Sequence[float]): Its standard deviation.
        compact (bool): Whether D holds C - s coordinates. False gives C channels, whose meaning depends neither on the
            image size nor on the machine, as an adapter needs. Defaults to True.

    Raises:
        ValueError: If no channel would be left.

    Example:
        >>> import torch
        >>> from mmfss.models.features import build_feature_reader
        >>> from mmfss.registry import MODELS
        >>> backbone = MODELS.build(dict(type='mmpretrain.ResNet', depth=18))
        >>> reader = build_feature_reader(dict(type='DebiasedFeatures', num_components=30), backbone)
        >>> pyramid = reader(backbone, torch.rand(2, 3, 256, 256))
        >>> [tuple(x.shape) for x in pyramid[0]]
        [(2, 512, 8, 8), (2, 482, 8, 8)]
    """

    def __init__(self,
                 reader: Optional[dict] = None,
                 num_components: Optional[int] = None,
                 mean: Sequence[float] = (123.675, 116.28, 103.53),
                 std: Sequence[float] = (58.395, 57.12, 57.375),
                 compact: bool = True) -> None:
        super().__init__(reader)
        self.num_components = num_components
        self.black = tuple(-m / s for m, s in zip(mean, std))
        self.compact = compact
        self._fixed_basis: Optional[PositionBasis] = None

    def channels(self, backbone: nn.Module) -> tuple[tuple[int, ...], ...]:
        width = self.reader(backbone).channels(backbone)[-1][-1]
        return ((width, width - self.num_removed(width) if self.compact else width), )

    def basis(self, backbone: nn.Module, image: Tensor) -> PositionBasis:
        """Return the directions of the position for images of the size, type and device of ``image`` (3, H, W)."""
        if self._fixed_basis is not None:
            return self._fixed_basis
        key = (tuple(image.shape[-2:]), image.dtype, self.black, self.num_components, _options(self.reader(backbone)))
        return kept_basis(backbone, key, lambda: self._compute_basis(backbone, image))

    def __call__(self, backbone: nn.Module, images: Tensor) -> FeaturePyramid:
        raw = _unit(self.reader(backbone)(backbone, images)[-1][-1])
        return FeaturePyramid(((raw, self.basis(backbone, images[0]).removed_from(raw, self.compact)), ))

    def fixed_for(self, backbone: nn.Module, image: Tensor) -> FeatureReader:
        basis = self.basis(backbone, image)
        fixed = super().fixed_for(backbone, image)
        fixed._fixed_basis = basis
        return fixed

    # Not in inference mode: gradients of other calls pass through the basis.
    @torch.inference_mode(False)
    @torch.no_grad()
    def _compute_basis(self, backbone: nn.Module, image: Tensor) -> PositionBasis:
        black = image.new_tensor(self.black)[:, None, None].expand(-1, *image.shape[-2:])
        with full_precision(image.device):
            features = self.reader(backbone)(backbone, black[None])[-1][-1][0]
        return PositionBasis.of_blank_image(features, self.num_removed(len(features)))

    def num_removed(self, width: int) -> int:
        """Return s for C = ``width`` channels."""
        number = round(width * SHARE_OF_CHANNELS) if self.num_components is None else self.num_components
        if not 0 <= number < width:
            raise ValueError(f'features.num_components must be at least 0 and below the {width} channels of the map, '
                             f'or nothing is left of it; got {number}. (500 is for the 1024 channels of ViT-L/16.)')
        return number


def _unit(features: Tensor) -> Tensor:
    """Normalize (B, C, h, w) over the channels, in float32 at least."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return F.normalize(features, dim=1, eps=1e-12)


def _options(reader: FeatureReader) -> str:
    return f'{type(reader).__name__}{sorted(vars(reader).items())}'
