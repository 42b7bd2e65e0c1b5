"""The contract of explainers."""
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from typing import Optional, Sequence, Union

import torch
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor
from mmfss.structures import Episode
from .contributions import Contributions
from .isolation import isolated, ordinary
from .region import Region, region_of_each, select_region


@dataclass(frozen=True)
class Explanation:
    """An attribution, and what an explainer knows beside it.

    Attributes:
        attribution (Tensor): As of :meth:`Explainer.attribute`, (N, K, H, W).
        neutral (Tensor, optional): The value of the attribution that means no contribution, (N, ); of variants whose
            values are signed.
        contributions (Contributions, optional): Which layers and which supports carried the prediction; of explainers
            that follow affinities.
    """
    attribution: Tensor
    neutral: Optional[Tensor] = None
    contributions: Optional[Contributions] = None


class Explainer(metaclass=ABCMeta):
    """Says which support pixels made a model segment a region of the query.

    An explainer holds options, nothing of a model or an episode. It leaves no trace on the model: hooks, gradients and
    modes are as before, and random numbers come from generators of its own. So several threads may use one explainer
    and one model, while others predict. Maps are the same inside :func:`torch.inference_mode`, :func:`torch.no_grad`
    and autocast, in train mode, and of a compiled model, see :func:`isolated`.

    .. code-block:: python

        explainer = EXPLAINERS.build(dict(type='signed_affex'))
        attribution = explainer.attribute(model, episode, region='prediction')   # (N, K, H, W)
    """

    own_copy = True
    """Whether it sets hooks or asks for gradients, for which it is given a copy of the model (the weights are shared);
    one that only reads saves the copy."""

    selects_region = False
    """Whether a region that is given by name costs it nothing, because its own forward pass makes the prediction."""
    reads_prototypes = False
    """Whether it can decompose a prediction into prototypes, see :class:`PrototypeExplainer`."""

    def attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Region = 'prediction') -> Tensor:
        """Return the attribution of :meth:`explain`, which has the arguments and errors; shape (N, K, H, W)."""
        return self.explain(model, episode, region).attribution

    def explain(self, model: BaseFewShotSegmentor, episode: Episode, region: Region = 'prediction') -> Explanation:
        """Explain one episode.

        Args:
            model (BaseFewShotSegmentor): The model.
            episode (Episode): N ways, K shots, supports of (H, W) pixels.
            region (str | Tensor): What is explained, see :func:`select_region`; each class has its own region, and its
                map is about its own logit.

        Returns:
            Explanation: Its attribution is float, shape (N, K, H, W), finite; the larger the more a support pixel
            speaks for the region. The range is the method's (most: 0 to 1 over the shots of a class).

        Raises:
            EmptyRegionError: If the region of a class is empty.
            ValueError: If the region is unknown, a support mask is empty, or the model cannot be explained so.

        Example:
            >>> import torch
            >>> from mmfss.models import FewShotSegmentor
            >>> from mmfss.registry import EXPLAINERS
            >>> from mmfss.structures import Episode
            >>> model = FewShotSegmentor(dict(type='mmpretrain.ResNet', depth=18), head=dict(type='DCAMAHead')).eval()
            >>> masks = torch.zeros(1, 2, 64, 64)
            >>> masks[..., 16:48, 16:48] = 1
            >>> episode = Episode(torch.rand(3, 64, 64), torch.rand(1, 2, 3, 64, 64), masks)  # 1-way 2-shot
            >>> explainer = EXPLAINERS.build(dict(type='signed_affex'))
            >>> explanation = explainer.explain(model, episode, region='all')
            >>> explanation.attribution.shape  # a value for each pixel of each support
            torch.Size([1, 2, 64, 64])
        """
        check_masks(episode)
        with isolated(model, self.own_copy) as model:
            episode = ordinary(episode)
            pixels = select_region(ordinary(region), model, episode)
            return Explanation(self._attribute(model, episode, pixels))

    def attribute_batch(self,
                        model: BaseFewShotSegmentor,
                        episodes: Sequence[Episode],
                        region: Union[Region, Sequence[Region]] = 'prediction') -> Tensor:
        """Explain B episodes of equal sizes; explainers that can, share work between them.

        Args:
            model (BaseFewShotSegmentor): The model.
            episodes (Sequence[Episode]): B episodes of N ways, K shots and (H, W) pixels.
            region (str | Tensor | Sequence): As in :meth:`explain`, one for all episodes or one for each.

        Returns:
            Tensor: Shape (B, N, K, H, W), equal to :meth:`attribute` of each.

        Raises:
            EmptyRegionError, ValueError: As :meth:`explain`.
        """
        regions = region_of_each(region, episodes)
        return torch.stack([self.attribute(model, *pair) for pair in zip(episodes, regions)])

    @abstractmethod
    def _attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        """Compute the attribution (N, K, H, W); ``region`` (N, h, w) is non-empty for every class.

        The model is in eval mode. The caller may have gradients switched off: :func:`torch.enable_grad` switches them
        on.
        """


def check_masks(episode: Episode) -> None:
    """Raise a ValueError that names the first support without annotation."""
    empty = (~episode.masks.flatten(2).any(-1)).nonzero().tolist()
    if empty:
        way, shot = empty[0]
        names = (episode.info or {}).get('support_names')
        name = f' ("{names[way][shot]}")' if names else ''
        raise ValueError(f'Support {shot + 1} of class {way + 1}{name} has an empty mask: it cannot be explained.')
