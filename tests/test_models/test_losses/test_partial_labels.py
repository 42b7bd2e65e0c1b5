"""Losses of masks and of image-level labels beside the reference numbers."""
import numpy as np
import pytest
import torch

from mmfss.models.losses import image_label_loss, labelled_cross_entropy
from tests.references.unrolled_lrp import golden, label_maps, tensor

GOLDEN = golden('losses')


@pytest.mark.parametrize(('seg_weight', 'cls_weight'), [(1.0, 1.0), (0.5, 2.0)])
def test_reference(seg_weight: float, cls_weight: float) -> None:
    maps, logits = 2 * tensor('heatmaps', (3, 5, 12, 10)), 2 * tensor('logits', (3, 5))
    target = label_maps(3, 5, (12, 10), 0, unlabelled=(1, ))
    assert np.array_equal(target.numpy(), GOLDEN['seg'])
    for x in (maps, logits):
        x.requires_grad_()
    seg = seg_weight * labelled_cross_entropy(maps, target, -1)
    cls = cls_weight * image_label_loss(logits, torch.from_numpy(GOLDEN['lab']))
    np.testing.assert_allclose([float(seg + cls), float(seg), float(cls)],
                               GOLDEN[f'losses_a{seg_weight}_b{cls_weight}'], rtol=1e-6)
    if seg_weight == cls_weight:
        (seg + cls).backward()
        np.testing.assert_allclose(maps.grad.numpy(), GOLDEN['grad_heat'], atol=1e-8)
        np.testing.assert_allclose(logits.grad.numpy(), GOLDEN['grad_logits'], atol=1e-7)


def test_no_labelled_pixel() -> None:
    maps = tensor('heatmaps', (2, 5, 4, 4)).requires_grad_()
    loss = labelled_cross_entropy(maps, torch.full((2, 4, 4), 255))
    loss.backward()
    assert float(loss) == 0 and float(maps.grad.abs().max()) == 0


def test_mean_over_the_batch() -> None:
    logits, labels = tensor('logits', (4, 5)), (tensor('labels', (4, 5)) > 0).int()
    summed = image_label_loss(logits, labels)
    torch.testing.assert_close(4 * image_label_loss(logits, labels, over_batch='mean'), summed)
    weight = torch.tensor([0., 1, 1, 1, 1])
    expected = torch.nn.functional.multilabel_soft_margin_loss(logits, labels.float(), weight)
    torch.testing.assert_close(image_label_loss(logits, labels, over_batch='mean'), expected)
