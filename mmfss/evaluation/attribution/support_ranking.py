"""Insertion and deletion of whole support images."""
from typing import Any, Literal, Mapping, Optional, Union

from torch import Tensor

from mmfss.registry import METRICS
from .causal_metric import CausalMetric
from .functional import stride_boundaries
from .insertion_deletion import default_name
from .perturbation_path import Mode
from .substrates import Substrate


@METRICS.register_module()
class SupportRanking(CausalMetric):
    """Measure whether the supports with the largest attribution carry the prediction: whole supports change.

    The score of a support is the mean of its map; equal ones change in the order of the shots. With M supports there
    are M + 1 states. Ranking needs at least two supports.

    Args:
        mode, measure, loss, skip_empty, substrate, channel, supports: See :class:`CausalMetric`.
        name (str, optional): Defaults to one made of the arguments, e.g. ``'Support-IAUC'``.
        **kwargs: Arguments of :class:`AttributionMetric`.

    Raises:
        ValueError: If an argument is none of the allowed values; in :meth:`measure` if ``skip_empty`` leaves a single
            state, that of the only support.
    """

    def __init__(self,
                 mode: Mode = 'ins',
                 measure: Literal['miou', 'confidence'] = 'miou',
                 loss: bool = False,
                 skip_empty: bool = False,
                 substrate: Union[str, Mapping[str, Any], Substrate] = 'zero',
                 channel: Literal['class', 'top'] = 'class',
                 supports: Literal['all', 'own'] = 'all',
                 name: Optional[str] = None,
                 **kwargs: Any) -> None:
        if name is None:
            name = f'Support-{default_name(mode, measure, loss, None)}'
        super().__init__(mode, measure, loss, skip_empty, substrate, channel, supports, name, **kwargs)

    def ranked(self, attribution: Tensor) -> Tensor:
        return attribution.mean((2, 3), keepdim=True).expand_as(attribution)

    def boundaries(self, values: Tensor) -> list[int]:
        num_supports = values.shape[:2].numel()
        if num_supports == 1 and self.skip_empty:
            raise ValueError(f'{self.name} ranks supports and skips the first state: it needs at least two supports, '
                             'and the episode has one.')
        return stride_boundaries(values.numel(), values[0, 0].numel())
