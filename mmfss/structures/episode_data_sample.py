"""Data element of one episode."""
from mmseg.structures import SegDataSample
from torch import Tensor


class EpisodeDataSample(SegDataSample):
    """Hold the annotations and predictions of one N-way K-shot episode.

    Letters: N ways, K shots, (H, W) the common size of query and supports after the pipeline. The fields of
    :class:`mmseg.structures.SegDataSample` describe the query:

    - ``gt_sem_seg`` (PixelData): ``data`` (1, H, W) int64; 0 background, n the n-th class of the episode (1..N),
      255 ignored.
    - ``pred_sem_seg`` (PixelData): ``data`` (1, H, W) int64, values 0..N.
    - ``seg_logits`` (PixelData): ``data`` (N+1, H, W) float, raw logits, channel 0 background.

    Added here:

    - ``support_sem_seg`` (Tensor): (N, K, H, W) uint8; 1 where support k shows class n, 0 elsewhere, 255 ignored.
    - ``gt_sem_seg_ori`` (PixelData): as ``gt_sem_seg`` at the query's original size, if the pipeline keeps it.

    Metainfo: ``episode_index``; ``class_ids`` (N ints, indices into the benchmark's classes) and ``class_names``;
    ``img_path`` and ``query_name`` of the query; ``support_paths`` and ``support_names`` (N lists of K);
    ``upright`` (bool), whether images were turned by their EXIF orientation when they were loaded;
    ``ori_shape``, ``img_shape`` (H, W) of the query; ``support_ori_shapes`` (N lists of K).
    """

    @property
    def support_sem_seg(self) -> Tensor:
        """Support masks, shape (N, K, H, W)."""
        return self._support_sem_seg

    @support_sem_seg.setter
    def support_sem_seg(self, value: Tensor) -> None:
        if isinstance(value, Tensor) and value.ndim != 4:
            raise ValueError(f'support_sem_seg must have shape (N, K, H, W), got {tuple(value.shape)}.')
        self.set_field(value, '_support_sem_seg', dtype=Tensor)

    @support_sem_seg.deleter
    def support_sem_seg(self) -> None:
        del self._support_sem_seg
