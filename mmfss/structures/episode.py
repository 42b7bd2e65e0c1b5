"""Episode as plain tensors."""
from dataclasses import dataclass
from typing import Any, Optional, Sequence

from torch import Tensor

from .episode_data_sample import EpisodeDataSample


@dataclass(frozen=True)
class Episode:
    """Hold one episode as tensors, for explainers and attribution metrics.

    Letters: N ways, K shots, supports of (H, W), a query of (h, w) pixels (equal to (H, W) after the usual pipeline).

    Attributes:
        query (Tensor): Normalized image, shape (3, h, w).
        support (Tensor): Normalized images, shape (N, K, 3, H, W).
        masks (Tensor): Support masks, float, 0 or 1, shape (N, K, H, W).
        target (Tensor, optional): Labels of the query, 0 background, n the n-th class, 255 ignored, shape (h, w).
        info (dict, optional): Metainfo of the data sample, see :class:`EpisodeDataSample`.

    Raises:
        ValueError: If shapes do not fit together.
    """
    query: Tensor
    support: Tensor
    masks: Tensor
    target: Optional[Tensor] = None
    info: Optional[dict[str, Any]] = None

    def __post_init__(self) -> None:
        images, masks = tuple(self.support.shape), tuple(self.masks.shape)
        if self.query.ndim != 3 or len(images) != 5 or images[:2] + images[3:] != masks or 0 in images:
            raise ValueError('An episode has a query (3, h, w), supports (N, K, 3, H, W) and masks (N, K, H, W); got '
                             f'{tuple(self.query.shape)}, {images} and {masks}.')
        if self.target is not None and self.target.shape != self.query.shape[1:]:
            raise ValueError(f'The target {tuple(self.target.shape)} must have the size of the query '
                             f'{tuple(self.query.shape[1:])}.')

    @classmethod
    def from_batch(cls, batch: dict[str, Any]) -> list['Episode']:
        """Split the batch that a model's data preprocessor returns.

        Args:
            batch (dict): ``inputs`` with ``query`` (B, 3, H, W) and ``support`` (B, N, K, 3, H, W), and
                ``data_samples``, B elements.
        """
        samples: Sequence[EpisodeDataSample] = batch['data_samples']
        return [
            # Ignored support pixels (255) count as background, as in prediction.
            cls(query, support, (sample.support_sem_seg == 1).to(support.dtype), sample.gt_sem_seg.data.squeeze(0),
                dict(sample.metainfo))
            for query, support, sample in zip(batch['inputs']['query'], batch['inputs']['support'], samples)
        ]

    @property
    def num_ways(self) -> int:
        """N."""
        return self.support.shape[0]

    @property
    def num_shots(self) -> int:
        """K."""
        return self.support.shape[1]

    @property
    def query_size(self) -> tuple[int, int]:
        """(h, w)."""
        return tuple(self.query.shape[-2:])

    @property
    def support_size(self) -> tuple[int, int]:
        """(H, W)."""
        return tuple(self.support.shape[-2:])
