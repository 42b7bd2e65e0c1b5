"""Stage 2 of ScaleProtoSeg against the reference numbers."""
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.references.scaleproto_golden import B, D, H, K, S, W, build_head, golden, padded, raw_features, stage2_head

GOLDEN = golden('stage2')
LABELS = torch.from_numpy(golden('stage1_losses')['labels'].astype(np.int64) - 1).masked_fill_(
    torch.from_numpy(golden('stage1_losses')['labels'] == 0), 255)


def features() -> Tensor:
    return raw_features('stage2.feat', B, S * D, H, W).sigmoid()


def total(losses: dict[str, Tensor]) -> Tensor:
    return sum(value for name, value in losses.items() if 'loss' in name)


def close(actual: Tensor, expected: np.ndarray, atol: float = 1e-4, rtol: float = 0) -> None:
    torch.testing.assert_close(actual.detach(), torch.from_numpy(np.asarray(expected)), atol=atol, rtol=rtol)


def test_forward() -> None:
    head = stage2_head()
    assert head.group_class.tolist() == GOLDEN['group_class'].tolist()
    close(head.groups, padded(head, GOLDEN['group_projection']).numpy(), 1e-6)
    close(head.group_classifier.weight, GOLDEN['last_layer_group'], 1e-6)
    close(features(), GOLDEN['conv_features'], 1e-6)
    distances = head.distances(features())
    close(torch.cat(distances, 1), GOLDEN['distances'], 5e-6)
    close(head.group_activations(distances).movedim(1, -1), GOLDEN['group_activations'])
    close(head.classify(features()).movedim(1, -1), GOLDEN['logits'], 2e-4)
    layout = (head.proto_class, head.proto_scale)
    fresh = build_head(type='ScaleProtoGroupHead', num_groups=K)
    fresh.set_layout(*layout)
    close(fresh.group_classifier.weight, GOLDEN['last_layer_group_init'], 0)


def test_losses() -> None:
    losses = stage2_head().losses(features(), LABELS)
    close(losses['loss_ce'], GOLDEN['cross_entropy'], 0, 1e-5)
    close(losses['loss_entropy'], 0.05 * GOLDEN['entropy_group'], 0, 1e-5)
    close(losses['loss_l1'], 1e-3 * GOLDEN['l1_last_layer_group'], 0, 1e-5)
    close(total(losses), GOLDEN['total'], 0, 1e-5)
    assert losses['acc_seg'].item() == pytest.approx(100 * int(GOLDEN['n_correct']) / 187, rel=1e-5)


@pytest.mark.parametrize(('kind', 'name'), [('GroupDiversityLoss', 'kld_group'), ('ScaleMaxLoss', 'scale_max'),
                                            ('GroupCrossEntropyLoss', 'cross_entropy_group')])
def test_optional_terms(kind: str, name: str) -> None:
    head = stage2_head()
    head.regularizers = build_head(regularizers=[dict(type=kind, loss_name='loss_term')]).regularizers
    close(head.losses(features(), LABELS)['loss_term'], GOLDEN[name], 0, 1e-5)


def test_gradients() -> None:
    head = stage2_head()
    losses = head.losses(features(), LABELS)
    weight = head.group_classifier.weight
    for loss, name in ((total(losses), 'total'), (losses['loss_entropy'] / 0.05, 'entropy')):
        grad, = torch.autograd.grad(loss, head.groups, retain_graph=True)
        wanted = padded(head, GOLDEN[f'grad_group_{name}'])
        torch.testing.assert_close(grad / wanted.abs().max(), wanted / wanted.abs().max(), atol=1e-5, rtol=0)
    grad, = torch.autograd.grad(total(losses), weight)
    scale = np.abs(GOLDEN['grad_last_total']).max()
    close(grad / scale, GOLDEN['grad_last_total'] / scale, 1e-5)


def test_three_steps_of_projected_adam() -> None:
    head = stage2_head()
    optimizer = torch.optim.Adam([head.groups, head.group_classifier.weight], lr=float(GOLDEN['step_lr']))
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = total(head.losses(features(), LABELS))
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        head.project_groups()
        assert head.groups.min() >= 0
        populated = head.groups[head.populated]
        torch.testing.assert_close(populated.sum(2), torch.ones_like(populated[..., 0]), atol=1e-6, rtol=0)
    np.testing.assert_allclose(losses, GOLDEN['step_losses'], rtol=1e-5)
    close(head.groups, padded(head, GOLDEN['group_projection_after3']).numpy(), 1e-5)
    close(head.group_classifier.weight, GOLDEN['last_layer_group_after3'], 1e-5)


def test_threshold() -> None:
    head = stage2_head()
    head.threshold_groups(float(GOLDEN['threshold']))
    close(head.groups, padded(head, GOLDEN['group_projection_thresholded']).numpy(), 1e-6)
    close(head.classify(features()).movedim(1, -1), GOLDEN['logits_thresholded'], 2e-4)
    with pytest.raises(ValueError, match='threshold must lie in'):
        head.threshold_groups(1.5)


def test_one_prototype_and_none() -> None:
    """A class left with one prototype has an entropy of 0, a class without any no group; nothing becomes NaN."""
    torch.manual_seed(0)
    head = stage2_head()
    head.set_layout(torch.tensor([0, 0, 1, 0, 4, 4, 4]), torch.tensor([0, 0, 0, 1, 1, 2, 3]))
    assert head.populated.tolist() == [True, True, False, False, True]
    assert head.entropy()[1].tolist() == [0.] * K and head.groups[1, :, 0].tolist() == [1.] * K
    optimizer = torch.optim.Adam([head.groups, head.group_classifier.weight], lr=0.01)
    first = last = None
    for _ in range(100):
        optimizer.zero_grad()
        last = total(head.losses(features(), LABELS))
        first = last.item() if first is None else first
        last.backward()
        optimizer.step()
        head.project_groups()
    assert last.item() < first and head.groups.isfinite().all() and head.group_classifier.weight.isfinite().all()
    assert (head.groups[[2, 3]] == 0).all() and head.groups[1, :, 0].tolist() == [1.] * K


def test_no_weights_between_classes() -> None:
    head = stage2_head(off_class_weight=0.)
    head.group_classifier.weight.data = head.initial_weights(head.own_groups)
    total(head.losses(features(), LABELS)).backward()
    assert (head.group_classifier.weight.grad[~head.own_groups] == 0).all()
    assert (head.group_classifier.weight.grad[head.own_groups] != 0).any()


def test_initial_groups() -> None:
    """12 prototypes a class: on average 6.9 weights above zero a row, normalized entropy 0.69."""
    torch.manual_seed(0)
    head = build_head(type='ScaleProtoGroupHead', num_classes=400, prototypes_per_scale=3, num_groups=3)
    assert (head.groups > 0).sum(2).float().mean().item() == pytest.approx(6.9, abs=0.2)
    assert head.entropy().mean().item() == pytest.approx(0.69, abs=0.02)


def test_bad_number_of_groups() -> None:
    with pytest.raises(ValueError, match='num_groups must be at least 1'):
        build_head(type='ScaleProtoGroupHead', num_groups=0)
