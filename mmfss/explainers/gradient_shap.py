"""Expected gradients against random baselines suited to episodes."""
from typing import Mapping, Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore
from .extras import import_extra
from .seeding import episode_generator

BASELINES = dict(both_masked=0.5, support_masked=0.25, query_masked=0.15, support_swapped=0.1, zeroed=0.)
"""Kinds of baselines and their shares in the published comparison."""


@EXPLAINERS.register_module(name='gradient_shap')
class GradientShap(ClassExplainer):
    """Average gradient times difference at random points between the episode and random baselines; signed.

    Through Captum. Source: Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions", NIPS 2017. In a
    baseline, the object of query (the region) or supports (the masks) or both is replaced by the mean of the rest; or
    the supports are exchanged for other images of the episode; or all is zero. Each baseline mask is emptied with
    probability ``mask_dropout``. Only the supports' images get attributions. Cost:
    ``n_samples`` forward and backward passes at once.

    Args:
        n_samples (int): Random points. Defaults to 5. The published setting is 1; when its one baseline is of the kind
            ``query_masked``, the supports do not differ and the map is zero.
        n_baselines (int): Baselines to draw from. Defaults to 20.
        kinds (Mapping[str, float]): Share of each kind of :data:`BASELINES`. Defaults to the published ones.
        mask_dropout (float): Defaults to 0.5.
        dilation (int): Pixels by which an object grows before it is painted over. Defaults to 3.
        seed (int): Seed. Defaults to 0.
        scaling (str, optional): Defaults to ``'min_max'``; None gives signed attributions, mean over channels.
    """

    requires = ('captum.attr', )
    differentiates = True

    def __init__(self,
                 n_samples: int = 5,
                 n_baselines: int = 20,
                 kinds: Optional[Mapping[str, float]] = None,
                 mask_dropout: float = 0.5,
                 dilation: int = 3,
                 seed: int = 0,
                 scaling: Optional[str] = 'min_max') -> None:
        super().__init__(scaling)
        self.kinds = dict(BASELINES if kinds is None else kinds)
        unknown = sorted(set(self.kinds) - set(BASELINES))
        if unknown or not sum(self.kinds.values()) > 0:
            raise ValueError(f'Kinds of baselines need shares that do not sum to zero, and are among '
                             f'{", ".join(BASELINES)}; got {self.kinds}.')
        self.n_samples = n_samples
        self.n_baselines = n_baselines
        self.mask_dropout = mask_dropout
        self.dilation = dilation
        self.seed = seed

    def explain_class(self, score: ClassScore) -> Tensor:
        generator = episode_generator(score.episode, self.seed)
        baselines = self.baselines(score, generator)
        # Captum's GradientShap draws these from NumPy's global generator, which belongs to all threads.
        draw = np.random.RandomState(int(generator.integers(2**32)))
        baselines = [x[torch.from_numpy(draw.choice(len(x), self.n_samples)).to(x.device)] for x in baselines]
        share = torch.from_numpy(draw.uniform(size=self.n_samples)).to(score.support)
        points = [between(*pair, share) for pair in zip(baselines, (score.support, score.masks, score.query))]
        method = import_extra('captum.attr').Saliency(score)
        gradients = method.attribute(
            points[0].requires_grad_(), abs=False, additional_forward_args=tuple(points[1:]))
        return (((score.support - baselines[0]) * gradients).sum(0) / self.n_samples).mean(1)

    def baselines(self, score: ClassScore, generator: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw baselines: supports (n, K, 3, H, W), masks (n, K, H, W) and queries (n, 3, h, w)."""
        painted_support = paint_over(score.support[0], score.masks[0] > 0, self.dilation)
        painted_query = paint_over(score.query, score.region[None], self.dilation)
        blank_support, blank_query = torch.zeros_like(score.support[0]), torch.zeros_like(score.query)
        shares = np.array(list(self.kinds.values()), dtype=float)
        # Draw the baselines
        drawn = []
        for kind in generator.choice(list(self.kinds), self.n_baselines, p=shares / shares.sum()):
            support, query = dict(
                both_masked=(painted_support, painted_query),
                support_masked=(painted_support, score.query),
                query_masked=(score.support[0], painted_query),
                support_swapped=(swapped(score, generator), score.query),
                zeroed=(blank_support, blank_query))[kind]
            kept = torch.from_numpy(generator.random(len(support)) >= self.mask_dropout).to(score.masks)
            drawn.append((support, score.masks[0] * kept[:, None, None] * float(kind != 'zeroed'), query[0]))
        return tuple(torch.stack(parts) for parts in zip(*drawn))


def between(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Interpolate points (n, ...) between ``start`` (n, ...) and ``end`` (1, ...), at the shares (n, )."""
    share = share.view(-1, *[1] * (end.ndim - 1))
    return share * end + (1 - share) * start


def paint_over(images: Tensor, objects: Tensor, dilation: int) -> Tensor:
    """Fill objects with the mean colour of the rest of their image.

    Args:
        images (Tensor): Shape (K, 3, H, W).
        objects (Tensor): Boolean, shape (K, H, W).
        dilation (int): Pixels by which the objects grow first.

    Returns:
        Tensor: Images; one that is all object becomes zero, the mean colour of the dataset.
    """
    grown = F.max_pool2d(objects[:, None].to(images), 2 * dilation + 1, stride=1, padding=dilation)
    rest = 1 - grown
    mean = (images * rest).sum((2, 3), keepdim=True) / rest.sum((2, 3), keepdim=True).clamp(min=1)
    return images * rest + mean * grown


def swapped(score: ClassScore, generator: np.random.Generator) -> Tensor:
    """Replace each support image by another of the episode, or by the query if there is no other: (K, 3, H, W)."""
    images = score.episode.support
    shots = images.shape[1]
    pool = images.flatten(0, 1)
    if len(pool) == 1:
        return F.interpolate(score.query, images.shape[-2:], mode='bilinear')
    steps = torch.from_numpy(generator.integers(1, len(pool), shots)).to(pool.device)
    return pool[(score.way * shots + torch.arange(shots, device=pool.device) + steps) % len(pool)]
