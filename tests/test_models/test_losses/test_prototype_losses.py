"""Losses of prototypes against literal loops, on classes that have lost some of their prototypes."""
from itertools import combinations
from math import log

import pytest
import torch
from torch import Tensor

from mmfss.models.layers.prototypes import prototype_table
from mmfss.models.losses import (
    ActivationNormLoss,
    ClassRegions,
    JeffreysDiversityLoss,
    OffClassL1Loss,
    PrototypeEvidence,
    SampleEntropyLoss,
    SpatialEntropyLoss,
    group_entropy,
)

PROTO_CLASS, PROTO_SCALE = torch.tensor([0, 0, 0, 1, 2, 2, 0, 2]), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
NUM_CLASSES = 4


def evidence(seed: int = 0) -> tuple[PrototypeEvidence, Tensor, Tensor]:
    """Two images of 5 x 6 cells; class 1 has one prototype, class 3 none, and class 2 one cell in the second image."""
    generator = torch.Generator().manual_seed(seed)
    distances = 3 * torch.rand(2, 8, 5, 6, generator=generator)
    distances.requires_grad_()
    target = torch.randint(-1, 4, (2, 5, 6), generator=generator)
    target[1][target[1] == 2] = 0
    target[1, 2, 3] = 2
    parts = [distances[:, :6], distances[:, 6:]]
    table = prototype_table(PROTO_CLASS, PROTO_SCALE, NUM_CLASSES, 2)
    own = PROTO_CLASS == torch.arange(NUM_CLASSES)[:, None]
    regions = ClassRegions.of(target, NUM_CLASSES)
    weight = torch.randn(NUM_CLASSES, 8, generator=generator)
    return PrototypeEvidence(parts, table, regions, weight, own, 1e-4), distances, target


def regions_of(target: Tensor) -> list[tuple[int, int, Tensor]]:
    return [(image, c, target[image] == c) for image in range(len(target)) for c in range(NUM_CLASSES)
            if (target[image] == c).any()]


def prototypes(class_id: int, scale: int) -> list[int]:
    return [p for p in range(8) if PROTO_CLASS[p] == class_id and PROTO_SCALE[p] == scale]


def similarity(distances: Tensor) -> Tensor:
    return ((distances + 1) / (distances + 1e-4)).log()


def test_diversity() -> None:
    found, distances, target = evidence()
    terms = []
    for image, class_id, mask in regions_of(target):
        for scale in range(2):
            for j, k in combinations(prototypes(class_id, scale), 2):
                if mask.sum() > 1:
                    v, w = (distances[image, p][mask].softmax(0) for p in (j, k))
                    terms.append((-((v * (v / w).log()).sum() + (w * (w / v).log()).sum()) / 2).exp())
    # Three pairs of class 0 in both images, one pair of class 2 in the first.
    assert len(terms) == 7
    loss, expected = JeffreysDiversityLoss(loss_weight=1.)(found), torch.stack(terms).mean()
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0)
    grads = [torch.autograd.grad(value, distances, retain_graph=True)[0] for value in (loss, expected)]
    torch.testing.assert_close(*grads, atol=1e-7, rtol=1e-5)


def test_entropies() -> None:
    found, distances, target = evidence()
    sample, spatial = [], []
    for image, class_id, mask in regions_of(target):
        own = prototypes(class_id, 0) + prototypes(class_id, 1)
        for scale in range(2):
            group = prototypes(class_id, scale)
            if group:
                v = similarity(distances[image, group][:, mask]).softmax(0)
                sample.append(-(v * v.log()).sum(0).mean() / log(max(2, len(group))))
        if own and mask.sum() > 1:
            v = similarity(distances[image, own][:, mask]).softmax(1)
            spatial.append(-(v * v.log()).sum(1).mean() / log(int(mask.sum())))
    torch.testing.assert_close(SampleEntropyLoss()(found), torch.stack(sample).mean())
    torch.testing.assert_close(SpatialEntropyLoss()(found), torch.stack(spatial).mean())
    (SampleEntropyLoss()(found) + SpatialEntropyLoss()(found)).backward()
    assert distances.grad.isfinite().all()


def test_norms() -> None:
    found, distances, target = evidence()
    means = {'l1': [], 'linf': []}
    for image, class_id, mask in regions_of(target):
        own = prototypes(class_id, 0) + prototypes(class_id, 1)
        if own:
            a = similarity(distances[image, own][:, mask])
            means['l1'].append(a.mean(1).mean())
            means['linf'].append(a.amax(1).mean())
    for order, values in means.items():
        torch.testing.assert_close(ActivationNormLoss(order)(found), torch.stack(values).mean())
    with pytest.raises(ValueError, match="order must be 'l1' or 'linf'"):
        ActivationNormLoss('l2')


def test_off_class_weights() -> None:
    found, _, _ = evidence()
    expected = sum(abs(float(found.weight[c, p])) for c in range(4) for p in range(8) if PROTO_CLASS[p] != c)
    assert OffClassL1Loss(loss_weight=1.)(found).item() == pytest.approx(expected, rel=1e-5)


def test_entropy_of_groups() -> None:
    groups = torch.tensor([[[0.5, 0.5, 0.], [1., 0., 0.]], [[1., 0., 0.], [1., 0., 0.]]])
    exists = torch.tensor([[True, True, False], [True, False, False]])
    torch.testing.assert_close(group_entropy(groups, exists), torch.tensor([[1., 0.], [0., 0.]]), atol=1e-4, rtol=0)
