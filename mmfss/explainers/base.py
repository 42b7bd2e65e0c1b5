"""The contract of explainers."""
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from typing import Optional, Sequence, Union

import torch
from torch import Tensor

from mmfss.models import FewShotSegmentor
from mmfss.structures import Episode
from .contributions import Contributions
from .isolation import isolated, ordinary
from .region import Region, region_of_each, select_region


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

    def attribute(self, model: FewShotSegmentor, episode: Episode, region: Region = 'prediction') -> Tensor:
        """Explain one episode.

        Args:
            model (FewShotSegmentor): The model.
            episode (Episode): N ways, K shots, supports of (H, W) pixels.
            region (str | Tensor): What is explained, see :func:`select_region`; each class has its own region, and its
                map is about its own logit.

        Returns:
            Tensor: Float, shape (N, K, H, W), finite; the larger the more a support pixel speaks for the region. The
            range is the method's (most: 0 to 1 over the shots of a class).

        Raises:
            EmptyRegionError: If the region of a class is empty.
            ValueError: If the region is unknown, a support mask is empty, or the model cannot be explained so.
        """
        check_masks(episode)
        with isolated(model, self.own_copy) as model:
            episode = ordinary(episode)
            pixels = select_region(ordinary(region), model, episode)
            return self._attribute(model, episode, pixels)

    def attribute_batch(self,
                        model: FewShotSegmentor,
                        episodes: Sequence[Episode],
                        region: Union[Region, Sequence[Region]] = 'prediction') -> Tensor:
        """Explain B episodes of equal sizes; explainers that can, share work between them.

        Args:
            model (FewShotSegmentor): The model.
            episodes (Sequence[Episode]): B episodes of N ways, K shots and (H, W) pixels.
            region (str | Tensor | Sequence): As in :meth:`attribute`, one for all episodes or one for each.

        Returns:
            Tensor: Shape (B, N, K, H, W), equal to :meth:`attribute` of each.

        Raises:
            EmptyRegionError, ValueError: As :meth:`attribute`.
        """
        regions = region_of_each(region, episodes)
        return torch.stack([self.attribute(model, *pair) for pair in zip(episodes, regions)])

    @abstractmethod
    def _attribute(self, model: FewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        """As :meth:`attribute`, with a region (N, h, w) of which no class is empty, on a model in eval mode.

        The caller may have gradients switched off: :func:`torch.enable_grad` switches them on.
        """


def check_masks(episode: Episode) -> None:
    """Raise a ValueError that names the first support without annotation."""
    empty = (~episode.masks.flatten(2).any(-1)).nonzero().tolist()
    if empty:
        way, shot = empty[0]
        names = (episode.info or {}).get('support_names')
        name = f' ("{names[way][shot]}")' if names else ''
        raise ValueError(f'Support {shot + 1} of class {way + 1}{name} has an empty mask: it cannot be explained.')


@dataclass(frozen=True)
class Explanation:
    """An attribution and what it was made of.

    Attributes:
        attribution (Tensor): As of :meth:`Explainer.attribute`, (N, K, H, W).
        contributions (Contributions): Which layers and which supports carried the prediction.
        neutral (Tensor, optional): The value of the attribution that means no contribution, (N, ); of variants whose
            values are signed.
    """
    attribution: Tensor
    contributions: Contributions
    neutral: Optional[Tensor] = None
