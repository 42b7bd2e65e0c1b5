"""AffEx, the Affinity Explainer: which support pixels the query's segmentation was matched with (arXiv 2511.18163)."""
from typing import Hashable, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor
from mmfss.models.affinities import TemperedAffinity
from mmfss.models.heads.matched_way import MatchedWay
from mmfss.models.layers import resize_unaligned
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from .base import Explainer, Explanation, check_masks
from .contributions import Contributions, RegionWeights, layer_weights, region_reading
from .isolation import isolated, ordinary
from .mask_weights import blur, dilate
from .region import EmptyRegionError, Region, check_region, region_of_each, region_pixels, resize_region
from .scaling import min_max

CHOICES = dict(
    aggregation=('feature_ablation', 'mean'),
    ablation_reference=('same_shot', 'last_shot'),
    mask_resize=('full', 'reference'),
    layer_order=('aligned', 'reference'),
    region_class=('own', 'first'),
    region_resize=('nearest', 'logits'))

SHARED_OPTIONS = ('aggregation', 'explanation_size', 'use_softmax', 'temperature', 'layer_order', 'region_class',
                  'region_resize', 'ablation_reference', 'chunk_size')
"""Options that contributions depend on; the others concern masks."""


@EXPLAINERS.register_module(name='unmasked_affex')
class AffEx(Explainer):
    """Unmasked AffEx: follow the affinities of every compared layer from a query region back to the support pixels.

    1. In each layer, compute the share of each support position's affinity that goes to the region, see
       :func:`region_shares`.
    2. Resize the shares to pixels and normalize them to sum 1: the layer's contribution.
    3. Weight the layers by the effect of removing each (:meth:`MatchingHead.layer_effects`), and add them.
    4. Scale by minimum and maximum over the shots of a class.

    It explains any :class:`MatchingHead` by its affinities, without gradients. Region, prediction and explanation share
    one forward pass. With Q and S positions of query and supports and d channels, a layer takes time O(Q S d), like the
    prediction's own attention, and memory O(chunk_size S + (Q + S) d). Neither a (query x support) nor a (support
    positions x pixels) matrix is held. Ablation decodes once for each layer, in batches.

    A share does not depend on the total attention of a support pixel: a hardly attended pixel has a large share if its
    little affinity goes to the region. Therefore the unmasked map covers background too.

    Args:
        aggregation (str): 'feature_ablation', or 'mean': all layers weigh the same.
        explanation_size (int | tuple[int, int], optional): Size (h, w) at which region and contributions are compared,
            a side if an int. None takes the pixels of query and supports, and costs no more. Smaller sizes reproduce
            published settings.
        use_softmax (bool): Whether a support position gives the softmax of its scores over all support positions, or
            the raw scores. Defaults to True.
        temperature (float): Divides the scores before that softmax. A value below 1 sharpens affinities that are plain
            cosines, as of INSID3, whose softmax over thousands of positions is almost flat. Defaults to 1.
        mask_blur_kernel_size (int): Side in pixels of the blur of masks, odd; 1 for none. Defaults to 31.
        mask_blur_sigma (float): Its standard deviation in pixels. Defaults to 50.
        mask_dilation_radius (int): How often masks are dilated before. Defaults to 0.
        mask_dilation_kernel (int, optional): Side in pixels of the dilation, odd.
        mask_resize (str): 'full' masks with every pixel of the support mask; 'reference' reduces the mask to the
            explanation size and enlarges it again.
        layer_order (str): 'aligned' gives each layer its own weight; 'reference' as released, see
            :func:`layer_weights`.
        region_class (str): 'own' explains each class by its own pixels; 'first', as released, all by the prediction or
            the ground truth of class 1.
        region_resize (str): How a predicted region is resized to the explanation size: 'nearest' resizes the region,
            'logits' the logits.
        ablation_reference (str): What the prediction without a layer is compared with, for DMTNet with several shots:
            'same_shot', the whole prediction of the same shot, or 'last_shot', that of the last shot, as in AffEx's
            reference implementation. Other heads have the first only.
        parity (bool): Reproduce published tables: 'reference' for ``mask_resize`` and ``layer_order``, 'first' for
            ``region_class``. Defaults to False.
        chunk_size (int): Query positions handled at a time. Defaults to 256.

    Raises:
        ValueError: If an option is not among those allowed.
    """

    own_copy = False
    selects_region = True

    def __init__(self,
                 aggregation: str = 'feature_ablation',
                 explanation_size: Union[int, tuple[int, int], None] = None,
                 use_softmax: bool = True,
                 temperature: float = 1.,
                 mask_blur_kernel_size: int = 31,
                 mask_blur_sigma: float = 50.,
                 mask_dilation_radius: int = 0,
                 mask_dilation_kernel: Optional[int] = None,
                 mask_resize: str = 'full',
                 layer_order: str = 'aligned',
                 region_class: str = 'own',
                 region_resize: str = 'nearest',
                 ablation_reference: str = 'same_shot',
                 parity: bool = False,
                 chunk_size: int = 256) -> None:
        if parity:
            mask_resize, layer_order, region_class = 'reference', 'reference', 'first'
        self.aggregation = aggregation
        self.explanation_size = _size(explanation_size)
        self.use_softmax = use_softmax
        self.temperature = temperature
        self.mask_blur_kernel_size = mask_blur_kernel_size
        self.mask_blur_sigma = mask_blur_sigma
        self.mask_dilation_radius = mask_dilation_radius
        self.mask_dilation_kernel = mask_dilation_kernel
        self.mask_resize = mask_resize
        self.layer_order = layer_order
        self.region_class = region_class
        self.region_resize = region_resize
        self.ablation_reference = ablation_reference
        self.chunk_size = chunk_size
        self._check_options()

    def explain(self, model: BaseFewShotSegmentor, episode: Episode, region: Region = 'prediction') -> Explanation:
        """Explain one episode; the result includes the contributions. See :meth:`Explainer.explain` for arguments."""
        return self.explain_batch(model, [episode], region)[0]

    @torch.no_grad()
    def explain_batch(self,
                      model: BaseFewShotSegmentor,
                      episodes: Sequence[Episode],
                      region: Union[Region, Sequence[Region]] = 'prediction') -> list[Explanation]:
        """Explain B episodes of equal sizes in one pass; arguments as :meth:`attribute_batch`."""
        for episode in episodes:
            check_masks(episode)
        with isolated(model, self.own_copy) as model:
            regions = [ordinary(x) for x in region_of_each(region, episodes)]
            episodes = [ordinary(episode) for episode in episodes]
            contributions = self._contributions(model, episodes, regions)
        return [self.explain_from(*pair) for pair in zip(contributions, episodes)]

    @property
    def shared_work(self) -> Hashable:
        kind = type(self)  # A subclass may compute other contributions.
        return kind._contributions, kind._way, *(getattr(self, name) for name in SHARED_OPTIONS)

    @torch.no_grad()
    def contributions(self, model: BaseFewShotSegmentor, episode: Episode,
                      region: Region = 'prediction') -> Contributions:
        """Compute the contributions of layers and supports to the prediction; arguments as :meth:`attribute`."""
        check_masks(episode)
        with isolated(model, self.own_copy) as model:
            return self._contributions(model, [ordinary(episode)], [ordinary(region)])[0]

    @torch.no_grad()
    def explain_from(self, contributions: Contributions, episode: Episode) -> Explanation:
        """Complete an explanation from the contributions of any variant with equal :attr:`shared_work`.

        Variants differ in this last step alone: several of them cost little more than one.

        Args:
            contributions (Contributions): See :meth:`contributions`.
            episode (Episode): The episode that they explain.

        Returns:
            Explanation: As :meth:`explain`.
        """
        with torch.inference_mode(False), torch.autocast(episode.masks.device.type, enabled=False):
            return Explanation(*self._attribution(contributions, ordinary(episode).masks), contributions)

    def from_contributions(self, contributions: Contributions, masks: Tensor) -> Tensor:
        """Compute the attribution alone of :meth:`explain_from`.

        Args:
            contributions (Contributions): See :meth:`contributions`.
            masks (Tensor): Masks of the same supports, (N, K, H, W).

        Returns:
            Tensor: Shape (N, K, H, W).
        """
        return self._attribution(contributions, masks)[0]

    def _attribution(self, contributions: Contributions, masks: Tensor) -> tuple[Tensor, Optional[Tensor]]:
        """Compute the attribution (N, K, H, W) and, if it is signed, its value of no contribution (N, )."""
        maps = contributions.combined()
        flat = maps.flatten(1)
        # Resizing leaves rounding noise in constant maps, which must not be scaled up.
        noise = 16 * torch.finfo(maps.dtype).eps * flat.abs().amax(1)
        varied = flat.amax(1) - flat.amin(1) > noise
        attribution = resize_unaligned(min_max(maps * varied[:, None, None, None]), masks.shape[-2:])
        return self._weigh(attribution, masks.to(maps.dtype))

    def attribute_batch(self,
                        model: BaseFewShotSegmentor,
                        episodes: Sequence[Episode],
                        region: Union[Region, Sequence[Region]] = 'prediction') -> Tensor:
        return torch.stack([x.attribution for x in self.explain_batch(model, episodes, region)])

    def _attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        return self.explain(model, episode, region).attribution

    def _contributions(self, model: BaseFewShotSegmentor, episodes: Sequence[Episode],
                       regions: Sequence[Region]) -> list[Contributions]:
        """Match, select the regions, and read the affinities backwards, for B episodes together."""
        query, support, masks = (_stacked(episodes, name) for name in ('query', 'support', 'masks'))
        # Match queries and supports
        pyramid, encoding = model.encode(query, support, masks)
        ways = model.matched_ways(pyramid, encoding)
        # Select the regions
        logits: Sequence[Optional[Tensor]] = [None] * len(episodes)
        if 'prediction' in (region for region in regions if isinstance(region, str)):
            logits = model.refined(model.compose([way.logits() for way in ways], query.shape[-2:]), pyramid)
        pixels = torch.stack([self._pixels(*args) for args in zip(regions, [model] * len(episodes), episodes, logits)])

        # Read the affinities backwards
        shares, effects, weights, own = zip(*(self._way(*pair) for pair in zip(ways, pixels.unbind(1))))
        size = self.explanation_size or tuple(support.shape[-2:])
        return [
            Contributions(
                tuple(torch.stack(layer) for layer in zip(*([x[index] for x in way] for way in shares))),
                torch.stack([way[index] for way in effects]) if self.aggregation == 'feature_ablation' else None,
                torch.stack([way[index] for way in weights]), size, pixels[index],
                None if own[0] is None else torch.stack([way[index] for way in own])) for index in range(len(episodes))
        ]

    def _way(self, way: MatchedWay,
             region: Tensor) -> tuple[Sequence[Tensor], Optional[Tensor], Tensor, Optional[Tensor]]:
        """Compute shares of each layer (B, K, h', w'), effects, weights and own shares (B, L) of a region."""
        weights = RegionWeights(region, torch.promote_types(way.dtype, torch.float32))
        affinities = way.affinities
        if self.temperature != 1:
            affinities = [TemperedAffinity(affinity, self.temperature) for affinity in affinities]
        shares, kept = zip(*(region_reading(x, weights, self.use_softmax, self.chunk_size) for x in affinities))
        own = None if kept[0] is None else torch.stack(kept, dim=1)
        if self.aggregation == 'mean':
            return shares, None, torch.full((len(region), len(shares)), 1 / len(shares)).to(shares[0]), own
        # A way of an own model need not know other references.
        other = {} if self.ablation_reference == 'same_shot' else dict(ablation_reference=self.ablation_reference)
        effects = way.layer_effects(region, **other)
        sizes = [affinity.query_size for affinity in affinities]
        return shares, effects, layer_weights(effects.to(shares[0].dtype), sizes, self.layer_order), own

    def _pixels(self, region: Region, model: BaseFewShotSegmentor, episode: Episode,
                logits: Optional[Tensor]) -> Tensor:
        """Select the region of each class at the explanation size, boolean, (N, T_h, T_w)."""
        size = self.explanation_size or episode.query_size
        if logits is not None and self.region_resize == 'logits':
            logits = resize_unaligned(logits[None], size)[0]
        pixels = region_pixels(region, model, episode, logits)
        if self.region_class == 'first' and isinstance(region, str):
            pixels = pixels[:1].expand_as(pixels)
        check_region(pixels, region, episode)
        resized = resize_region(pixels, size)
        if not resized.flatten(1).any(1).all():
            raise EmptyRegionError(f'The region of a class has no pixel left at explanation_size={size}: use a larger '
                                   'one, or None.')
        return resized

    def _weigh(self, attribution: Tensor, masks: Tensor) -> tuple[Tensor, Optional[Tensor]]:
        """Turn the unmasked map (N, K, H, W) into that of the variant; also return its zero (N, ) if it is signed."""
        return attribution, None

    def _soft_masks(self, masks: Tensor) -> Tensor:
        """Dilate and blur the support masks, in [0, 1]."""
        if self.mask_resize == 'reference' and self.explanation_size is not None:
            masks = F.interpolate(F.interpolate(masks, self.explanation_size), masks.shape[-2:])
        if self.mask_dilation_kernel is not None:
            masks = dilate(masks, self.mask_dilation_radius, self.mask_dilation_kernel)
        return blur(masks, self.mask_blur_kernel_size, self.mask_blur_sigma)

    def _check_options(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f'{name} must be one of {", ".join(allowed)}, got {getattr(self, name)!r}.')
        for name in ('mask_blur_kernel_size', 'mask_dilation_kernel'):
            size = getattr(self, name)
            if size is not None and (size < 1 or size % 2 == 0):
                raise ValueError(f'{name} must be odd and at least 1, got {size}.')
        if not self.temperature > 0:
            raise ValueError(f'temperature must be above 0, got {self.temperature}.')
        if self.mask_blur_sigma <= 0 or self.chunk_size < 1 or self.mask_dilation_radius < 0:
            raise ValueError('mask_blur_sigma must be above 0, chunk_size at least 1 and mask_dilation_radius at least '
                             f'0, got {self.mask_blur_sigma}, {self.chunk_size} and {self.mask_dilation_radius}.')
        if self.mask_dilation_radius and self.mask_dilation_kernel is None:
            raise ValueError('mask_dilation_radius needs a mask_dilation_kernel.')


@EXPLAINERS.register_module(name='masked_affex')
class MaskedAffEx(AffEx):
    """Masked AffEx: the unmasked map x times the blurred support mask m, x m, scaled to 0..1 over a class's shots.

    It covers the annotated object alone. The options are those of :class:`AffEx`.
    """

    def _weigh(self, attribution: Tensor, masks: Tensor) -> tuple[Tensor, Optional[Tensor]]:
        return min_max(attribution * self._soft_masks(masks)), None


@EXPLAINERS.register_module(name='signed_affex')
class SignedAffEx(AffEx):
    """Signed AffEx: affinity to the object speaks for the region, affinity to background against it, x (2 m - 1).

    The head reads foreground votes from inside the support mask m and background votes from outside. Scaled to 0..1
    over a class's shots, so that "no contribution" is at some level between. The options are those of :class:`AffEx`.
    """

    def _weigh(self, attribution: Tensor, masks: Tensor) -> tuple[Tensor, Optional[Tensor]]:
        return _scaled_signed(attribution * (2 * self._soft_masks(masks) - 1))


@EXPLAINERS.register_module(name='reverse_signed_affex')
class ReverseSignedAffEx(AffEx):
    """Control: Signed AffEx with reversed sign, x (1 - 2 m). It should do worse than chance."""

    def _weigh(self, attribution: Tensor, masks: Tensor) -> tuple[Tensor, Optional[Tensor]]:
        return _scaled_signed(attribution * (1 - 2 * self._soft_masks(masks)))


@EXPLAINERS.register_module(name='smoothed_affex')
class SmoothedAffEx(AffEx):
    """Control: the unmasked map, blurred as masks are, without a mask. It measures the effect of the blur alone."""

    def _weigh(self, attribution: Tensor, masks: Tensor) -> tuple[Tensor, Optional[Tensor]]:
        return min_max(blur(attribution, self.mask_blur_kernel_size, self.mask_blur_sigma)), None


def _scaled_signed(attribution: Tensor) -> tuple[Tensor, Tensor]:
    """Scale (N, K, H, W) by minimum and maximum; also return the scaled zero, (N, )."""
    low, high = attribution.flatten(1).aminmax(dim=1)
    return min_max(attribution), torch.where(high > low, -low / (high - low), 0.)


def _size(size: Union[int, Sequence[int], None]) -> Optional[tuple[int, int]]:
    """Return (h, w) of a side or a pair."""
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f'explanation_size must be None, a side or a pair (h, w) of at least 1 pixel, got {size}.')
    return pair


def _stacked(episodes: Sequence[Episode], name: str) -> Tensor:
    """Stack a tensor of every episode."""
    tensors = [getattr(episode, name) for episode in episodes]
    shapes = {tuple(tensor.shape) for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(f'Episodes of a batch must have equal sizes; their "{name}" have {sorted(shapes)}.')
    return torch.stack(tensors)
