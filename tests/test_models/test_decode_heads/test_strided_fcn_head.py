"""Dense classification at less than full resolution."""
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmfss.registry import MODELS


def test_learns_from_every_fourth_label() -> None:
    head = MODELS.build(dict(
        type='StridedFCNHead', label_stride=4, in_channels=8, channels=8, in_index=0, num_convs=0, concat_input=False,
        num_classes=3))
    labels = torch.full((1, 16, 16), 255)
    labels[:, 2::4, 2::4] = 1
    sample = SegDataSample(gt_sem_seg=PixelData(data=labels))
    loss = head.loss([torch.randn(1, 8, 4, 4)], [sample], {})['loss_ce']
    assert torch.isfinite(loss) and loss > 0
    assert (head._stack_batch_gt([sample]) == 1).all()
