"""Base class of few-shot segmentors."""
from abc import abstractmethod
from dataclasses import dataclass
from math import log
from typing import Any, Optional, Sequence, Union

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor, nn

from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample
from ..heads.matched_way import MatchedWay
from ..layers import compose_ways
from ..layers.pytrees import pytree
from .presence_judge import PresenceJudge, logits_and_evidence

EpisodeInputs = dict[str, Tensor]
SupportImages = Union[Tensor, Sequence[Tensor]]


@pytree
@dataclass(frozen=True)
class SupportEncoding:
    """Hold the encoded supports of one episode, or of B episodes.

    Attributes:
        ways (tuple): The head's encoding of each way.
        batch_size (int): Episodes encoded; 1 serves every query of a batch.
    """
    ways: tuple[Any, ...]
    batch_size: int


class BaseFewShotSegmentor(BaseSegmentor):
    """Segment the classes of annotated support images in a query image.

    Letters: B episodes, N ways, K shots, images of H x W pixels.

    A subclass implements four methods: :meth:`extract_feat` computes features, :meth:`encode_features` encodes the
    supports, :meth:`way_logits` compares a query with them, and :meth:`loss` computes the training losses.
    :class:`FewShotSegmentor` implements them with a backbone and a head. Metrics, explainers, the inferencer and the
    commands accept any subclass, also one without a feature pyramid.

    Args:
        threshold (float): Probability, in (0, 1), above which a pixel is foreground. Heads that predict for each shot
            apply it to each shot. A value below 0.5 may help if training saw few classes: new classes are ranked well,
            but with lower probabilities. It adds log(t / (1 - t)) to the background logits of predictions; losses are
            not affected. ``tools/analysis_tools/choose_threshold.py`` chooses it without the tested classes.
        data_preprocessor (dict, optional): Defaults to :class:`EpisodeDataPreProcessor` with ImageNet's statistics.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ValueError: If the threshold is out of range.
    """

    align_corners = True
    """Whether resizing of logits aligns the corners; callers that resize them further should do the same."""

    def __init__(self,
                 threshold: float = 0.5,
                 data_preprocessor: Optional[dict] = None,
                 init_cfg: Optional[dict] = None) -> None:
        # Built here: the base class would look its type up in MMEngine's registry, which does not know this package's.
        super().__init__(MODELS.build(data_preprocessor or dict(type='EpisodeDataPreProcessor')), init_cfg)
        if not 0 < threshold < 1:
            raise ValueError(f'model.threshold is a probability between 0 and 1, got {threshold}.')
        self.threshold = threshold
        self.presence_judge: Optional[PresenceJudge] = None

    @property
    def training_free(self) -> bool:
        """bool: Whether the model has nothing to train, so that commands need no checkpoint."""
        return False

    # Methods that a subclass implements

    @abstractmethod
    def extract_feat(self, inputs: Tensor) -> Any:
        """Compute the features of normalized images (B, 3, H, W); the result has a method ``split(sizes)``."""

    @abstractmethod
    def encode_features(self, features: Any, masks: SupportImages) -> SupportEncoding:
        """Encode supports from their features.

        Args:
            features (Any): Features of all supports, ordered by way, then by episode, then by shot.
            masks (Tensor | Sequence[Tensor]): Binary masks (B, N, K, H, W), or for each way (B, K_n, H, W).

        Returns:
            SupportEncoding: The encoded supports, see :meth:`encode_support`.
        """

    @abstractmethod
    def way_logits(self, features: Any, encoding: SupportEncoding) -> list[Tensor]:
        """Compute the logits of each class from the features of queries.

        Args:
            features (Any): Features of B queries.
            encoding (SupportEncoding): Of B support sets, or of one that serves all queries.

        Returns:
            list[Tensor]: For each of N ways raw logits (B, 2, h, w), or (B, K, 2, h, w) for each shot: background,
            foreground.
        """

    def matched_ways(self, features: Any, encoding: SupportEncoding) -> list[MatchedWay]:
        """Return the affinities of every class, from which AffEx explains; arguments as :meth:`match`.

        Raises:
            ValueError: If the model has no affinities.
        """
        raise ValueError(f'AffEx reads affinities, which a {type(self).__name__} does not have: choose an explainer '
                         'that needs predictions alone.')

    def use_differentiable_form(self) -> Optional[str]:
        """Replace decisions without gradient by a smooth form, on an explainer's copy of the model.

        Returns:
            str, optional: Name of the form; None (the default) for a model that is differentiable as it is.

        Raises:
            ValueError: If the model has no such form, so that explainers that need gradients cannot explain it.
        """
        return None

    def use_exportable_form(self, image: Tensor) -> Optional[str]:
        """Replace what a graph of tensor operations cannot hold, on the exported copy of the model.

        Args:
            image (Tensor): A normalized image of the size of all queries, (3, H, W).

        Returns:
            str, optional: Name of the form, if it predicts otherwise than the model; None if not.

        Raises:
            ValueError: If the model cannot be exported.
        """
        raise ValueError(f'A {type(self).__name__} cannot be exported: only models of a backbone and a head can.')

    def refined(self, logits: Tensor, features: Any) -> Tensor:
        """Refine predictions (B, N+1, H, W) of B queries from their features; unchanged by default."""
        return logits

    def presence_feature(self, features: Any) -> Optional[Tensor]:
        """Return the feature map (B, C, h, w) by which the presence of classes is judged; None if there is none."""
        return None

    def combine_shots(self, way: Tensor, size: Sequence[int], for_loss: bool = False) -> Tensor:
        """Make one prediction (B, 2, h, w) of the logits of one way; arguments as :meth:`FewShotHead.combine_shots`."""
        return way

    def compares_slices(self, query: Tensor, support: Sequence[Tensor]) -> bool:
        """Check whether to encode and compare the supports in slices: if each gives its own logits, and they are many.

        Args:
            query (Tensor): Queries, (B, 3, H, W).
            support (Sequence[Tensor]): For each way (B, K, 3, H, W).
        """
        return False

    def shots_at_a_time(self, query: Tensor) -> int:
        """Return the number of shots of a slice for queries (B, 3, H, W)."""
        return 1

    # Methods built on them

    def match(self, features: Any, encoding: SupportEncoding, size: Sequence[int], for_loss: bool = False) -> Tensor:
        """Segment queries from their features.

        Args:
            features (Any): Features of B queries.
            encoding (SupportEncoding): Of B support sets, or of one that serves all queries.
            size (Sequence[int]): Size (H, W) of the result.
            for_loss (bool): See :meth:`compose`.

        Returns:
            Tensor: Raw logits (B, N+1, H, W), channel 0 background.
        """
        logits = self.compose(self.way_logits(features, encoding), size, for_loss)
        return logits if for_loss else self.refined(logits, features)

    def encode_support(self, support: SupportImages, masks: SupportImages) -> SupportEncoding:
        """Encode annotated supports once, for any number of queries.

        Args:
            support (Tensor | Sequence[Tensor]): Normalized images (B, N, K, 3, H, W); or, when the ways differ in their
                number of shots, for each way (B, K_n, 3, H, W).
            masks (Tensor | Sequence[Tensor]): Binary masks (B, N, K, H, W), or for each way (B, K_n, H, W).

        Returns:
            SupportEncoding: Takes the place of ``support`` and ``masks`` in :meth:`logits`.

        Example:
            >>> import torch
            >>> from mmfss.models import FewShotSegmentor
            >>> backbone = dict(type='mmpretrain.ResNet', depth=18)
            >>> model = FewShotSegmentor(backbone, head=dict(type='DCAMAHead')).eval()
            >>> support, masks = torch.rand(1, 2, 1, 3, 64, 64), torch.ones(1, 2, 1, 64, 64)  # 2-way 1-shot
            >>> with torch.no_grad():
            ...     encoding = model.encode_support(support, masks)
            ...     logits = model.logits(torch.rand(4, 3, 64, 64), encoding)  # one support set, 4 queries
            >>> len(encoding.ways), logits.shape
            (2, torch.Size([4, 3, 64, 64]))
        """
        support, masks = self._ways(support, masks)
        pyramid = self.extract_feat(torch.cat([images.flatten(0, 1) for images in support]))
        return self.encode_features(pyramid, masks)

    def logits(self,
               query: Tensor,
               support: Union[SupportImages, SupportEncoding],
               masks: Optional[SupportImages] = None) -> Tensor:
        """Segment queries.

        Query and supports of equal size share one backbone pass. If each support gives logits of its own (as of HSNet),
        many supports are encoded and compared in slices, so that the memory does not grow with the shots.

        Args:
            query (Tensor): Normalized images, shape (B, 3, H, W).
            support (Tensor | Sequence[Tensor] | SupportEncoding): As in :meth:`encode_support`, or its result.
            masks (Tensor | Sequence[Tensor], optional): As in :meth:`encode_support`; None with an encoding.

        Returns:
            Tensor: Raw logits (B, N+1, H, W), channel 0 background.

        Raises:
            ValueError: If shapes do not fit together.

        Example:
            >>> import torch
            >>> from mmfss.models import FewShotSegmentor
            >>> backbone = dict(type='mmpretrain.ResNet', depth=18)
            >>> model = FewShotSegmentor(backbone, head=dict(type='DCAMAHead')).eval()
            >>> support, masks = torch.rand(1, 2, 1, 3, 64, 64), torch.ones(1, 2, 1, 64, 64)  # 2-way 1-shot
            >>> with torch.no_grad():
            ...     logits = model.logits(torch.rand(1, 3, 64, 64), support, masks)
            >>> logits.shape  # background and two classes
            torch.Size([1, 3, 64, 64])
        """
        if isinstance(support, SupportEncoding):
            if support.batch_size not in (1, len(query)):
                raise ValueError(
                    f'{support.batch_size} support sets cannot serve {len(query)} queries: encode one, or as many.')
            return self.match(self.extract_feat(query), support, query.shape[-2:])
        if masks is None:
            raise ValueError('`masks` may be left out only with encoded supports.')
        if not self.compares_slices(query, self._ways(support, masks)[0]):
            return self.match(*self.encode(query, support, masks), query.shape[-2:])
        return self._logits_by_slices(query, support, masks)

    def _logits_by_slices(self, query: Tensor, support: SupportImages, masks: SupportImages) -> Tensor:
        """Compute the logits, with a slice of the shots encoded at a time."""
        support, masks = self._ways(support, masks)
        self._check_batch(query, support)
        features, size = self.extract_feat(query), self.shots_at_a_time(query)
        ways = []
        for images, of_images in zip(support, masks):
            slices = zip(images.split(size, dim=1), of_images.split(size, dim=1))
            # No name for an encoding, so that it is let go before the next is made.
            ways.append(torch.cat([
                self.way_logits(features, self.encode_support([part], [its]))[0] for part, its in slices], dim=1))
        return self.refined(self.compose(ways, query.shape[-2:]), features)

    def encode(self, query: Tensor, support: SupportImages, masks: SupportImages) -> tuple[Any, SupportEncoding]:
        """Compute the features of queries and the encoding of supports; images of one size share a backbone pass.

        Args:
            query (Tensor): Normalized images, shape (B, 3, H, W).
            support (Tensor | Sequence[Tensor]): As in :meth:`encode_support`, of B episodes.
            masks (Tensor | Sequence[Tensor]): As in :meth:`encode_support`.

        Returns:
            tuple[Any, SupportEncoding]: Features of the queries, and the encoded supports.

        Raises:
            ValueError: If shapes do not fit together.
        """
        query_features, support_features, masks = self.pair_features(query, support, masks)
        return query_features, self.encode_features(support_features, masks)

    def pair_features(self, query: Tensor, support: SupportImages,
                      masks: SupportImages) -> tuple[Any, Any, list[Tensor]]:
        """Compute the features of queries and of their supports, and split the masks; arguments as :meth:`encode`.

        Returns:
            tuple[Any, Any, list[Tensor]]: Features of the B queries; of all supports, ordered by way, episode and shot;
            the masks of each way, (B, K, H, W).
        """
        support, masks = self._ways(support, masks)
        self._check_batch(query, support)
        shots = [images.flatten(0, 1) for images in support]
        if support[0].shape[-2:] == query.shape[-2:]:
            images = torch.cat((query, *shots))
            return *self.extract_feat(images).split((len(query), len(images) - len(query))), masks
        return self.extract_feat(query), self.extract_feat(torch.cat(shots)), masks

    def compose(self, ways: Sequence[Tensor], size: Sequence[int], for_loss: bool = False) -> Tensor:
        """Combine the logits of all ways into the logits of the model.

        Args:
            ways (Sequence[Tensor]): For each of N ways raw logits (B, 2, h, w), or (B, K, 2, h, w) for each shot.
            size (Sequence[int]): Size (H, W) of the result.
            for_loss (bool): Skip steps that apply to predictions only: ``threshold``, and such options of the head.

        Returns:
            Tensor: Raw logits (B, N+1, H, W), channel 0 background.
        """
        if not for_loss:
            ways = [self._thresholded(way) for way in ways]
        logits = compose_ways([self.combine_shots(way, size, for_loss) for way in ways])
        if logits.shape[-2:] == tuple(size):
            return logits
        return F.interpolate(logits, tuple(size), mode='bilinear', align_corners=self.align_corners)

    def _thresholded(self, logits: Tensor) -> Tensor:
        """Shift the background logits of (..., 2, h, w) so that foreground wins where its probability exceeds t."""
        if self.threshold == 0.5:
            return logits
        background, foreground = logits.unbind(-3)
        return torch.stack((background + log(self.threshold / (1 - self.threshold)), foreground), dim=-3)

    @staticmethod
    def _check_batch(query: Tensor, support: Sequence[Tensor]) -> None:
        if {len(images) for images in support} != {len(query)}:
            raise ValueError(f'{len(support[0])} support sets were given for {len(query)} queries; encode a single set '
                             'with `encode_support` to use it for several queries.')

    @staticmethod
    def _ways(support: SupportImages, masks: SupportImages) -> tuple[list[Tensor], list[Tensor]]:
        """Split into ways, (B, K, 3, H, W) and (B, K, H, W), and check the shapes."""
        if isinstance(support, Tensor) and support.ndim != 6:
            raise ValueError(f'Supports must have shape (B, N, K, 3, H, W), got {tuple(support.shape)}.')
        support = list(support.unbind(1) if isinstance(support, Tensor) else support)
        masks = list(masks.unbind(1) if isinstance(masks, Tensor) else masks)
        shapes = [tuple(images.shape[:2] + images.shape[3:]) for images in support]
        if not shapes or shapes != [tuple(mask.shape) for mask in masks] or any(0 in shape for shape in shapes):
            raise ValueError('Every way needs at least one support image and a mask of the size of each. Got images '
                             f'{[tuple(images.shape) for images in support]} and masks '
                             f'{[tuple(mask.shape) for mask in masks]}.')
        return support, [mask.to(images.dtype) for mask, images in zip(masks, support)]

    @torch.no_grad()
    def predict(self, inputs: EpisodeInputs, data_samples: list[EpisodeDataSample]) -> list[EpisodeDataSample]:
        """Add ``seg_logits`` (N+1, H, W) and ``pred_sem_seg`` (1, H, W) to every sample, at network size.

        With a ``presence_judge``, samples also get ``presence``, one score per way.
        """
        if self.presence_judge is None:
            return add_predictions(data_samples, self._forward(inputs, data_samples))
        logits, evidence = logits_and_evidence(self, inputs['query'], inputs['support'], support_masks(data_samples))
        for sample, scores in zip(data_samples, self.presence_judge(evidence).tolist()):
            sample.set_metainfo(dict(presence=scores))
        return add_predictions(data_samples, logits)

    def _forward(self, inputs: EpisodeInputs, data_samples: list[EpisodeDataSample]) -> Tensor:
        """Compute raw logits (B, N+1, H, W)."""
        return self.logits(inputs['query'], inputs['support'], support_masks(data_samples))

    encode_decode = _forward


def check_training_free(model: nn.Module) -> None:
    """Check that a model needs no checkpoint.

    Args:
        model (nn.Module): Any segmentor.

    Raises:
        ValueError: If it must be trained.
    """
    if not getattr(model, 'training_free', False):
        head = f' with a {type(model.head).__name__}' if hasattr(model, 'head') else ''
        raise ValueError(f'No checkpoint is given, but a {type(model).__name__}{head} must be trained: name its '
                         'checkpoint after the config.')


def support_masks(data_samples: Sequence[EpisodeDataSample]) -> Tensor:
    """Return boolean support masks (B, N, K, H, W).

    Ignored support pixels (255) count as background, as in the published implementations.
    """
    return torch.stack([sample.support_sem_seg for sample in data_samples]) == 1


def add_predictions(data_samples: list[EpisodeDataSample], logits: Tensor) -> list[EpisodeDataSample]:
    """Add ``seg_logits`` (N+1, H, W) and ``pred_sem_seg`` (1, H, W) to each sample; logits are (B, N+1, H, W)."""
    for sample, sample_logits in zip(data_samples, logits):
        sample.seg_logits = PixelData(data=sample_logits)
        sample.pred_sem_seg = PixelData(data=sample_logits.argmax(0, keepdim=True))
    return data_samples
