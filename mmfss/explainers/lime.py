"""LIME: a sparse linear model of the effect of superpixels on the prediction."""
from typing import Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore
from .extras import import_extra
from .seeding import episode_generator
from .superpixels import segment

SURROGATES = dict(lasso=('Lasso', 0.01), ridge=('Ridge', 1.))


@EXPLAINERS.register_module(name='lime')
class Lime(ClassExplainer):
    """Fit a linear model that predicts the class's logit from the visible superpixels; signed weights.

    Source: Ribeiro et al., "Why Should I Trust You?", KDD 2016, adapted to few-shot segmentation as in the AffEx
    reference implementation. Superpixels are switched off in image and mask. A support without remaining mask is
    removed from the episode. The weight of a sample is exp(-(D / kernel_width)^2) with D = image_weight * D_image +
    (1 - image_weight) * D_mask, where D_image is 1 minus the supports' mean cosine with the original, and D_mask the
    mean share of removed mask. Non-finite samples are dropped. Cost: ``n_samples`` forward passes of the supports; the
    query is encoded once.

    Args:
        n_samples (int): Random samples. Defaults to 25.
        n_segments (int): Superpixels of each support (SLIC). Defaults to 80.
        compactness (float): Of the superpixels. Defaults to 10.
        share_segments (bool): Treat superpixels of equal number in several supports as one, as the released
            implementation does. Defaults to False.
        surrogate (str): ``'lasso'`` or ``'ridge'``. Defaults to ``'lasso'``.
        alpha (float, optional): Regularization. Defaults to 0.01 for lasso and 1 for ridge.
        kernel_width (float): Defaults to 1.
        image_weight (float): Defaults to 0.2.
        perturbations_per_eval (int): Samples evaluated at a time. Defaults to 5.
        seed (int): Seed. Defaults to 0.
        scaling (str, optional): Defaults to ``'min_max'``; None gives signed weights.
    """

    requires = ('skimage.segmentation', 'sklearn.linear_model')

    def __init__(self,
                 n_samples: int = 25,
                 n_segments: int = 80,
                 compactness: float = 10.,
                 share_segments: bool = False,
                 surrogate: str = 'lasso',
                 alpha: Optional[float] = None,
                 kernel_width: float = 1.,
                 image_weight: float = 0.2,
                 perturbations_per_eval: int = 5,
                 seed: int = 0,
                 scaling: Optional[str] = 'min_max') -> None:
        super().__init__(scaling)
        if surrogate not in SURROGATES:
            raise ValueError(f'Unknown surrogate "{surrogate}" of LIME: give one of {", ".join(SURROGATES)}.')
        self.surrogate, default = SURROGATES[surrogate]
        self.alpha = default if alpha is None else alpha
        self.n_samples = n_samples
        self.segments = dict(n_segments=n_segments, compactness=compactness, shared=share_segments)
        self.kernel_width = kernel_width
        self.image_weight = image_weight
        self.perturbations_per_eval = perturbations_per_eval
        self.seed = seed

    def explain_class(self, score: ClassScore) -> Tensor:
        segments = segment(score.support[0], **self.segments)
        shown = self.draw(segments, score)
        values, weights = zip(*(self._evaluate(score, part[:, segments].to(score.support))
                                for part in shown.split(self.perturbations_per_eval)))
        coefficients = self.fit(shown.float(), torch.cat(values), torch.cat(weights))
        return coefficients.to(score.support)[segments]

    def draw(self, segments: Tensor, score: ClassScore) -> Tensor:
        """Draw the visible superpixels, boolean (n_samples, F); each sample shows at least one with mask."""
        generator = episode_generator(score.episode, self.seed)
        carrying = segments[score.masks[0] > 0].unique().cpu().numpy()
        shown = generator.random((self.n_samples, int(segments.max()) + 1)) < 0.5
        rescue = generator.choice(carrying, self.n_samples)
        blind = ~shown[:, carrying].any(1)
        shown[blind, rescue[blind]] = True
        return torch.from_numpy(shown).to(segments.device)

    def _evaluate(self, score: ClassScore, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Compute scores and weights, (B, ), of samples that keep the pixels ``shown`` (B, K, H, W)."""
        support, masks = score.support * shown[:, :, None], score.masks * shown
        present = masks.flatten(2).any(-1)
        values = support.new_empty(len(shown))
        for shots in present.unique(dim=0):
            rows = (present == shots).all(1)
            values[rows] = score.select(shots)(support[rows][:, shots], masks[rows][:, shots])
        cosine = F.cosine_similarity(support.flatten(2), score.support.flatten(2), dim=-1) * present
        kept = masks.sum((2, 3)) / score.masks.sum((2, 3))
        distance = self.image_weight * (1 - cosine.mean(1)) + (1 - self.image_weight) * (1 - kept.mean(1))
        return values, torch.exp(-(distance / self.kernel_width)**2)

    def fit(self, shown: Tensor, values: Tensor, weights: Tensor) -> Tensor:
        """Fit the coefficients of the surrogate, (F, ); zero if no sample is finite."""
        features, values, weights = (x.double().cpu().numpy() for x in (shown, values, weights))
        finite = np.isfinite(values)
        if not finite.any():
            return torch.zeros(features.shape[1])
        # With a random state of its own: without one, scikit-learn draws from NumPy's global generator.
        model = getattr(import_extra('sklearn.linear_model'), self.surrogate)(alpha=self.alpha, random_state=0)
        return torch.from_numpy(model.fit(features[finite], values[finite], weights[finite]).coef_)
