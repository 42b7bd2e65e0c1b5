"""Base class of explainers."""
from abc import ABCMeta, abstractmethod
from dataclasses import dataclass
from typing import Hashable, Optional, Sequence, Union

import torch
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor
from mmfss.structures import Episode
from .contributions import Contributions
from .isolation import isolated, ordinary
from .region import Region, region_of_each, select_region


@dataclass(frozen=True)
class Explanation:
    """Hold an attribution and further results of an explainer.

    Attributes:
        attribution (Tensor): Value of each support pixel, (N, K, H, W), see :meth:`Explainer.explain`.
        neutral (Tensor, optional): The attribution value that means no contribution, (N, ), of methods with signed
            values.
        contributions (Contributions, optional): Contributions of layers and supports, of explainers that follow
            affinities.
        form (str, optional): The differentiable form of the model that was explained in place of its own decisions.
    """
    attribution: Tensor
    neutral: Optional[Tensor] = None
    contributions: Optional[Contributions] = None
    form: Optional[str] = None


class Explainer(metaclass=ABCMeta):
    """Attribute the segmentation of a query region to the support pixels.

    An explainer holds options, but no state of a model or an episode. It leaves hooks, gradients and modes of the model
    as before, and draws random numbers from its own generators. Therefore several threads may use one explainer and
    one model, while others predict. Maps are the same inside :func:`torch.inference_mode`, :func:`torch.no_grad`
    and autocast, in train mode, and of a compiled model, see :func:`isolated`.

    .. code-block:: python

        explainer = EXPLAINERS.build(dict(type='signed_affex'))
        attribution = explainer.attribute(model, episode, region='prediction')   # (N, K, H, W)
    """

    own_copy = True
    """Whether it sets hooks or asks for gradients, and therefore works on a copy of the model (with shared weights)."""

    differentiates = False
    """Whether it needs gradients of the prediction, and therefore the differentiable form of a model that has one."""
    selects_region = False
    """Whether it selects a named region in its own forward pass, at no extra cost."""
    reads_prototypes = False
    """Whether it can decompose a prediction into prototypes, see :class:`PrototypeExplainer`."""

    def attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Region = 'prediction') -> Tensor:
        """Return the attribution of :meth:`explain`, which has the arguments and errors; shape (N, K, H, W)."""
        return self.explain(model, episode, region).attribution

    def explain(self, model: BaseFewShotSegmentor, episode: Episode, region: Region = 'prediction') -> Explanation:
        """Attribute the prediction of one episode to its support pixels.

        Args:
            model (BaseFewShotSegmentor): The model.
            episode (Episode): N ways, K shots, supports of (H, W) pixels.
            region (str | Tensor): Explained query region, see :func:`select_region`. Each class has its own region, and
                its map explains its own logit.

        Returns:
            Explanation: Its attribution is float, shape (N, K, H, W), finite. Larger values support the region more.
            The range depends on the method (usually 0 to 1 over the shots of a class).

        Raises:
            EmptyRegionError: If the region of a class is empty.
            ValueError: If the region is unknown, a support mask is empty, or the explainer does not support the model.

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
            form = model.use_differentiable_form() if self.differentiates else None
            return Explanation(self._attribute(model, episode, pixels), form=form)

    def attribute_batch(self,
                        model: BaseFewShotSegmentor,
                        episodes: Sequence[Episode],
                        region: Union[Region, Sequence[Region]] = 'prediction') -> Tensor:
        """Explain B episodes of equal sizes; some explainers share work between them.

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

    @property
    def shared_work(self) -> Optional[Hashable]:
        """Hashable, optional: Equal for explainers that compute equal contributions; None (the default) shares nothing.

        If it is not None, ``explain(...)`` is ``explain_from(contributions(...), episode)``.
        """
        return None

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
