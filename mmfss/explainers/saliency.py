"""Plain gradients."""
from typing import Optional

from torch import Tensor

from mmfss.registry import EXPLAINERS
from .class_explainer import ClassExplainer
from .class_score import ClassScore
from .extras import import_extra


@EXPLAINERS.register_module(name='saliency')
class Saliency(ClassExplainer):
    """Take the absolute gradient of the class's mean logit with respect to its supports, mean over channels.

    Through Captum. Source: Simonyan et al., "Deep Inside Convolutional Networks", ICLR workshop 2014. Cost: one forward
    and one backward pass of the supports; the query is only encoded.

    Args:
        scaling (str, optional): Defaults to ``'min_max'``; None gives absolute gradients.
    """

    requires = ('captum.attr', )
    differentiates = True

    def __init__(self, scaling: Optional[str] = 'min_max') -> None:
        super().__init__(scaling)

    def explain_class(self, score: ClassScore) -> Tensor:
        method = import_extra('captum.attr').Saliency(score)
        return method.attribute(score.support.clone().requires_grad_())[0].mean(1)
