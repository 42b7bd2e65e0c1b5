"""MMSegmentation's IoU, also with deterministic algorithms on a GPU."""
from typing import Tuple

from mmseg.evaluation import IoUMetric as MMSegIoUMetric
from torch import Tensor

from mmfss.registry import METRICS
from mmfss.utils.determinism import avoids_atomics


@METRICS.register_module()
class IoUMetric(MMSegIoUMetric):
    """Compute MMSegmentation's IoU; with deterministic algorithms on, count on the CPU.

    Args:
        **kwargs: As for :class:`mmseg.evaluation.IoUMetric`.
    """

    @staticmethod
    def intersect_and_union(pred_label: Tensor, label: Tensor, num_classes: int,
                            ignore_index: int) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """Count the pixels of every class.

        Args:
            pred_label (Tensor): Predicted classes, shape (H, W).
            label (Tensor): True classes, shape (H, W).
            num_classes (int): Number of classes.
            ignore_index (int): Pixels of this class are left out.

        Returns:
            tuple[Tensor]: Per class the pixels of the intersection, of the union, predicted and true ones.
        """
        if avoids_atomics(pred_label):
            pred_label, label = pred_label.cpu(), label.cpu()
        return MMSegIoUMetric.intersect_and_union(pred_label, label, num_classes, ignore_index)
