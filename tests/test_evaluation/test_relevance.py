"""Relevance mass and rank accuracy on maps that can be counted."""
import pytest
import torch

from mmfss.evaluation import RelevanceMetric, relevance_mass, relevance_rank_accuracy

MASK = torch.tensor([[True, True, False], [False, False, False]])


@pytest.mark.parametrize(('values', 'mass', 'accuracy'), [
    ([[4., 3., 1.], [0., -9., 0.]], 7 / 8, 1.),
    ([[4., -3., 1.], [5., 0., 0.]], 0.4, 0.5),
    ([[-1., -1., 0.], [0., 0., 0.]], 0., 0.),
    ([[1., 1., 1.], [1., 1., 1.]], 1 / 3, 1 / 3)])
def test_figures(values: list, mass: float, accuracy: float) -> None:
    relevance = torch.tensor(values)
    assert relevance_mass(relevance, MASK) == pytest.approx(mass)
    assert relevance_rank_accuracy(relevance, MASK) == pytest.approx(accuracy)


def test_metric() -> None:
    """Mean over a class's images, then over classes; void and background are left out."""
    metric = RelevanceMetric()
    metric.dataset_meta = dict(classes=('background', 'a', 'b', 'unseen'))
    target = torch.tensor([[[1, 1, 0, 255]]])
    first = torch.zeros(4, 1, 4)
    first[1] = torch.tensor([[3., 0., 1., 50.]])
    second = torch.zeros(4, 1, 4)
    second[1] = torch.tensor([[1., 1., 0., 0.]])
    third = torch.zeros(4, 1, 4)
    third[2] = torch.tensor([[0., 0., 1., 0.]])
    for maps, labels in ((first, target), (second, target), (third, 2 * (target == 1))):
        metric.process(None, [dict(gt_sem_seg=dict(data=labels), seg_logits=dict(data=maps))])
    found = metric.evaluate(3)
    assert found['relevance_mass'] == pytest.approx(100 * ((0.75 + 1) / 2 + 0) / 2)
    assert found['rank_accuracy'] < 60
