"""Base class of few-shot heads."""
from abc import ABCMeta, abstractmethod
from typing import Any, Optional, Sequence

from mmengine.model import BaseModule
from torch import Tensor

from mmfss.registry import MODELS
from ..features import FeaturePyramid
from .matched_way import MatchedWay


class FewShotHead(BaseModule, metaclass=ABCMeta):
    """Segment one class in a query from K annotated supports.

    ::

        encoding = encode_support(support pyramid, masks)       once per support set, reusable for any query
        logits   = forward(query pyramid, encoding)

    A head handles one way; :class:`FewShotSegmentor` combines ways. Heads that compare query and support positions are
    :class:`MatchingHead`: their predictions can be read backwards.

    Args:
        in_channels (Sequence[Sequence[int]]): Channels of every map of the feature pyramid, per level from fine to
            coarse. The segmentor fills it in from the backbone.
        loss_decode (dict, optional): Config of an MMSegmentation loss. Defaults to cross entropy, the mean over all
            pixels that are not ignored.
        ignore_index (int, optional): Label that is left out of the loss. None counts ignored pixels (255) as
            background, like the published implementations. Defaults to None.
        init_cfg (dict, optional): Initialization config.
    """

    training_free = False
    """Whether the head has nothing to train, so that commands need no checkpoint."""
    shots_apart = False
    """Whether :meth:`forward` gives logits (B, K, 2, h, w), those of a shot without regard to the others."""
    reads_images = False
    """Whether the head needs the images of the query beside their features, :attr:`FeaturePyramid.images`."""

    def __init__(self,
                 in_channels: Sequence[Sequence[int]],
                 loss_decode: Optional[dict] = None,
                 ignore_index: Optional[int] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        self.in_channels = tuple(tuple(level) for level in in_channels)
        self.ignore_index = ignore_index
        self.loss_decode = MODELS.build(loss_decode or dict(type='mmseg.CrossEntropyLoss', avg_non_ignore=True))

    @abstractmethod
    def encode_support(self, support: FeaturePyramid, masks: Tensor) -> Any:
        """Encode the supports: compute everything that does not depend on the query.

        Args:
            support (FeaturePyramid): Features of B * K support images, the K shots of an episode together.
            masks (Tensor): Support masks in [0, 1], shape (B, K, H, W).

        Returns:
            Any: The head's own encoding of B support sets.
        """

    @abstractmethod
    def forward(self, query: FeaturePyramid, encoding: Any) -> Tensor:
        """Segment queries.

        Args:
            query (FeaturePyramid): Features of B queries.
            encoding (Any): Of B support sets, or of one set that serves all queries.

        Returns:
            Tensor: Raw logits (B, 2, h, w) at the head's own output size: background, foreground. A head that segments
            the query with each shot alone gives (B, K, 2, h, w), which :meth:`combine_shots` makes one prediction.
        """

    def forward_train(self, query: FeaturePyramid, encoding: Any, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute logits and the head's auxiliary losses, for training.

        Args:
            query (FeaturePyramid): Features of B queries.
            encoding (Any): Encoding of B support sets.
            target (Tensor): Where the query shows this way's class: 1, elsewhere 0, 255 ignored; shape (B, H, W).

        Returns:
            tuple[Tensor, dict[str, Tensor]]: Logits, and the head's own losses by name; by default there are none.
        """
        return self(query, encoding), {}

    def combine_shots(self, logits: Tensor, size: Sequence[int], for_loss: bool = False) -> Tensor:
        """Combine the predictions of the shots into one.

        A head that segments with each shot alone overrides it.

        Args:
            logits (Tensor): Result of :meth:`forward`.
            size (Sequence[int]): Size (H, W) of the query.
            for_loss (bool): Whether the result is used in a loss, and must be logits.

        Returns:
            Tensor: Shape (B, 2, h, w), at the head's output size or at ``size``.
        """
        return logits

    def use_differentiable_form(self) -> Optional[str]:
        """Replace decisions without gradient by a smooth form, for explainers, on their own copy of the head.

        Returns:
            str, optional: Name of the form; None (the default) for a head that is differentiable as it is.
        """
        return None

    def use_exportable_form(self) -> Optional[str]:
        """Replace steps that a graph of tensor operations cannot hold, on the exported copy of the head.

        Returns:
            str, optional: Name of the form, if it predicts otherwise than the head; None (the default) if not.

        Raises:
            ValueError: If the head cannot be exported.
        """
        return None

    def matched_way(self, query: FeaturePyramid, encoding: Any) -> MatchedWay:
        """Return the affinities of one class, from which AffEx explains; arguments as :meth:`forward`.

        Raises:
            ValueError: If the head has no affinities.
        """
        raise ValueError(f'AffEx reads the affinities of a MatchingHead, which {type(self).__name__} is not.')

    def loss(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Args:
            logits (Tensor): Shape (B, N+1, H, W).
            target (Tensor): Labels 0..N, and 255 for ignored pixels, shape (B, H, W).

        Returns:
            dict[str, Tensor]: Scalars by name.
        """
        if self.ignore_index is None:
            target = target.masked_fill(target == 255, 0)
        ignore_index = -100 if self.ignore_index is None else self.ignore_index
        return dict(loss_ce=self.loss_decode(logits, target, **self.loss_options(target, ignore_index)))

    def loss_options(self, target: Tensor, ignore_index: int) -> dict[str, Any]:
        """Return arguments of ``loss_decode`` besides logits and target.

        The loss of MMSegmentation waits for the GPU to count the pixels that it averages over; here they are counted on
        the GPU.
        """
        counts = getattr(self.loss_decode, 'avg_non_ignore', False) and self.loss_decode.class_weight is None
        if not counts or self.loss_decode.use_sigmoid or self.loss_decode.use_mask:
            return dict(ignore_index=ignore_index)
        return dict(ignore_index=ignore_index, avg_factor=(target != ignore_index).sum())
