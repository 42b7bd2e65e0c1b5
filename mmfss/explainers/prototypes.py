"""Explainer of prototype heads: the support pixels behind each prototype."""
import torch
from torch import Tensor

from mmfss.models import BaseFewShotSegmentor, PrototypeReader
from mmfss.models.layers import resize_adjoint, resize_unaligned
from mmfss.models.layers.prototype_reading import PrototypeReading
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from .base import Explainer
from .isolation import isolated, ordinary
from .scaling import min_max


@EXPLAINERS.register_module(name='prototypes')
class PrototypeExplainer(Explainer):
    """Attribute a region to the support cells of the object's prototypes, see
    :meth:`PrototypeReading.support_maps`.

    The parts sum exactly to the score of the object's groups, summed over the region. Maps are resized bilinearly to
    the support's pixels. A cell counts for its annotated pixels only, so that the map is zero outside the mask. Values
    are scaled to 0..1 over a class's shots. It works with every head that is a :class:`PrototypeReader`.
    """

    own_copy = False
    reads_prototypes = True

    @torch.no_grad()
    def _attribute(self, model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        maps = torch.stack([reading.support_maps(weights)[0, 0]
                            for reading, weights in self._read(model, episode, region)])
        return min_max(resize_unaligned(maps, episode.support_size) * episode.masks)

    @torch.no_grad()
    def readings(self, model: BaseFewShotSegmentor, episode: Episode,
                 region: Tensor) -> list[tuple[PrototypeReading, Tensor]]:
        """Decompose the prediction of every class.

        Args:
            model (BaseFewShotSegmentor): The model.
            episode (Episode): N ways.
            region (Tensor): What is explained of each class, bool, (N, h, w), none of them empty.

        Returns:
            list[tuple]: Of each class the reading (of one query), and how much each query cell counts in the mean over
            the region, (1, h', w'), sum 1.

        Raises:
            ValueError: If the head has no prototypes.
        """
        with isolated(model, self.own_copy) as model:
            return [(reading, weights / region[way].sum())
                    for way, (reading, weights) in enumerate(self._read(model, ordinary(episode), ordinary(region)))]

    @staticmethod
    def _read(model: BaseFewShotSegmentor, episode: Episode, region: Tensor) -> list[tuple[PrototypeReading, Tensor]]:
        """Return the reading of each class, and the weight of each query cell in the sum over the region."""
        head = getattr(model, 'head', model)
        if not isinstance(head, PrototypeReader):
            raise ValueError(f'a {type(head).__name__} has no prototypes to read, as a FewShotScaleProtoHead '
                             '(configs/scaleproto_fss) has. signed_affex and all others explain every head.')
        pyramid, encoding = model.encode(episode.query[None], episode.support[None], episode.masks[None])
        readings = [head.read(pyramid, way) for way in encoding.ways]
        return [(reading, resize_adjoint(pixels[None, None].to(reading.odds), reading.odds.shape[-2:],
                                         align_corners=model.align_corners)[0])
                for reading, pixels in zip(readings, region)]
