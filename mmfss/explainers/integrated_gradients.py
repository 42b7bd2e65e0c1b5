"""Gradients along the straight path from a blank episode."""
from typing import Optional

from torch import Tensor

from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore
from .extras import import_extra


@EXPLAINERS.register_module(name='integrated_gradients')
class IntegratedGradients(ClassExplainer):
    """Integrate the gradient on the path from zero (the mean colour) to the images, times the images; signed.

    Through Captum. Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017. By default the
    query and the masks move along the path too, as in the published comparison; only the supports' images are
    attributed to. Cost: ``n_steps`` forward and backward passes.

    Args:
        n_steps (int): Points of the path. Defaults to 25.
        method (str): Captum's integration rule. Defaults to ``'gausslegendre'``.
        internal_batch_size (int): Points evaluated at a time. Defaults to 1.
        perturb_query (bool): Whether the query moves along; otherwise it is encoded only once. Defaults to True.
        perturb_masks (bool): Whether the masks move along. Defaults to True.
        scaling (str, optional): Defaults to ``'min_max'``; None gives signed attributions, mean over channels.
    """

    requires = ('captum.attr', )
    differentiates = True

    def __init__(self,
                 n_steps: int = 25,
                 method: str = 'gausslegendre',
                 internal_batch_size: int = 1,
                 perturb_query: bool = True,
                 perturb_masks: bool = True,
                 scaling: Optional[str] = 'min_max') -> None:
        super().__init__(scaling)
        self.options = dict(n_steps=n_steps, method=method, internal_batch_size=internal_batch_size)
        self.perturbed = dict(perturb_query=perturb_query, perturb_masks=perturb_masks)

    def explain_class(self, score: ClassScore) -> Tensor:
        return integrate(score, **self.perturbed, **self.options).mean(1)


def integrate(score: ClassScore, perturb_query: bool, perturb_masks: bool, **options: object) -> Tensor:
    """Compute integrated gradients of the supports, signed.

    Args:
        score (ClassScore): What is explained.
        perturb_query (bool): Whether the query moves along the path.
        perturb_masks (bool): Whether the masks do.
        **options: Arguments of Captum's ``IntegratedGradients.attribute``.

    Returns:
        Tensor: Shape (K, 3, H, W).
    """

    def at(support: Tensor, position: Tensor) -> Tensor:
        # Query and masks follow the position without being differentiated; Captum wants every input to take part.
        share = position.detach()[:, :, None, None]
        masks = score.masks * share if perturb_masks else None
        query = score.query * share if perturb_query else None
        return score(support, masks, query) + 0 * position[:, 0]

    inputs = (score.support.clone().requires_grad_(), score.support.new_ones(1, 1).requires_grad_())
    method = import_extra('captum.attr').IntegratedGradients(at)
    return method.attribute(inputs, **options)[0][0]
