"""Metrics of the classifier, and the published mIoU beside the reference numbers."""
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData

from mmfss.evaluation import ImageLabelMetric, SummedIoUMetric, average_precision
from mmfss.evaluation.image_labels import intersections_and_unions
from tests.references.unrolled_lrp import golden, label_maps, tensor


def test_reference() -> None:
    expected = golden('losses')
    metric = SummedIoUMetric()
    metric.dataset_meta = dict(classes=tuple('abcde'))
    for number in range(2):
        target = label_maps(3, 5, (12, 10), number)
        hit = (tensor(f'metric_hit_{number}', (3, 1, 12, 10)) > -0.3).float()
        onehot = torch.nn.functional.one_hot(target, 5).permute(0, 3, 1, 2)
        scores = 2 * tensor(f'metric_heat_{number}', (3, 5, 12, 10)) + 3 * onehot * hit
        metric.process(None, [dict(pred_sem_seg=dict(data=found[None]), gt_sem_seg=dict(data=true[None]))
                              for found, true in zip(scores.argmax(1), target)])
    intersection, union = np.sum(metric.results, axis=0)
    assert np.array_equal(intersection, expected['metric_intersection'])
    assert np.array_equal(union, expected['metric_union'])
    found = metric.evaluate(6)
    assert found == {'official/mIoU': pytest.approx(100 * float(expected['metric_miou']), abs=1e-4)}


def test_counts_leave_out_void() -> None:
    prediction, target = torch.tensor([[0, 1, 1]]), torch.tensor([[0, 0, 255]])
    assert intersections_and_unions(prediction, target, 2).tolist() == [[1, 0], [2, 1]]


def test_average_precision() -> None:
    scores, labels = np.array([3., 2., 1., 0.]), np.array([1, 0, 1, 0])
    assert average_precision(scores, labels) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.zeros(4), labels) == 0.5
    assert np.isnan(average_precision(scores, np.zeros(4, int)))


def samples() -> list[dict]:
    logits = torch.tensor([[9., 1., -1., 2.], [9., -1., 3., -2.]])
    labels = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0]])
    return [dict(cls_logits=a, gt_image_labels=b) for a, b in zip(logits, labels)]


def test_classification() -> None:
    metric = ImageLabelMetric()
    metric.process(None, samples())
    assert metric.evaluate(2) == pytest.approx(dict(
        exact_match=50, class_accuracy=100 * 5 / 6, F1=100, mAP=100), abs=1e-3)
    with_background = ImageLabelMetric(skip_background=False)
    with_background.process(None, samples())
    assert with_background.evaluate(2)['class_accuracy'] == 87.5


def test_missing_logits() -> None:
    with pytest.raises(ValueError, match='no cls_logits'):
        ImageLabelMetric().process(None, [dict(gt_image_labels=torch.ones(3))])
    with pytest.raises(ValueError, match='no gt_image_labels'):
        ImageLabelMetric().process(None, [dict(cls_logits=torch.ones(3), gt_sem_seg=PixelData())])
