"""GF-SAM gives the numbers of the official implementation, from given tokens and a toy SAM."""
from typing import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmfss.models import FeaturePyramid, GFSAMHead
from mmfss.models.features import ResizedFeatures
from tests.references.gfsam import CASES, SIDE, draw, golden
from tests.references.seeded import seeded_image

ATOL = 1e-5
MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def assert_close(actual: Tensor, expected: np.ndarray, atol: float = ATOL) -> None:
    np.testing.assert_allclose(actual.numpy(), expected, atol=atol, rtol=0)


@pytest.mark.parametrize('name', CASES)
def test_steps_and_mask(name: str) -> None:
    case, expected = CASES[name], golden(name)
    query, support, masks = draw(case)
    head = GFSAMHead([[case['C']]], sam=dict(type='ToySAM', case=case)).eval()
    query = FeaturePyramid(((query, ), ), torch.zeros(1, 3, SIDE, SIDE))
    encoding = head.encode_support(FeaturePyramid(((support, ), )), masks[None])
    (affinity, ) = head.match(query, encoding)
    maps = head.aggregate(affinity, encoding)
    for map_, key in zip(maps[0], ('S', 'S_max', 'N')):
        assert_close(map_, expected[key])
    (reading, ) = head.read([maps], query, encoding)

    assert_close(reading.prior, expected['R'])
    assert_close(reading.prior.sum(), expected['R_sum'], atol=1e-4)
    assert len(reading.points) == expected['P']
    np.testing.assert_array_equal(reading.cells, expected['cells'])
    np.testing.assert_array_equal(reading.points, expected['points'])
    assert_close(reading.evidence, expected['e'])
    np.testing.assert_array_equal(reading.evidence > 0, expected['positive'])

    graph = reading.graph
    np.testing.assert_array_equal(graph.edges, expected['edges'])
    np.testing.assert_array_equal(graph.component, expected['component'])
    assert_close(graph.scores, expected['mask_score'])
    np.testing.assert_array_equal(graph.foreground, expected['foreground'])
    assert_close(graph.balance, expected['cls'], atol=1e-3)
    consistency = graph.consistency
    if expected['consistency'].shape != tuple(consistency.shape):
        consistency = consistency.amax(0)
    assert_close(consistency, expected['consistency'])
    np.testing.assert_array_equal(graph.consistency.argmax(0), expected['nearest_component'])
    np.testing.assert_array_equal(graph.consistent, expected['consistent'])
    assert graph.fallback == bool(expected['fallback'])
    np.testing.assert_array_equal(graph.chosen, expected['chosen'])

    np.testing.assert_array_equal(np.packbits(reading.mask[::8, ::8], axis=1), expected['final'])
    assert reading.mask.sum() == expected['final_area']
    np.testing.assert_array_equal(head.decode([maps], query, encoding)[0].argmax(0), reading.mask)


def test_images_of_the_encoders() -> None:
    """At 518 x 518 for DINOv2, with and without antialiasing; as whole pixels for SAM."""
    expected = golden('images')
    images = (0.5 + 0.25 * torch.from_numpy(seeded_image('images', (2, 3, SIDE, SIDE), 1))).clamp(0, 1)
    normalized, given = (images - MEAN) / STD, []

    class Reader(ResizedFeatures):

        def reader(self, backbone: nn.Module) -> Callable:
            return lambda backbone, images: given.append(images)

    for antialias in (True, False):
        Reader((518, 518), antialias=antialias)(nn.Identity(), normalized)
    smooth, plain = given
    for name, image in (('query_518', smooth[0]), ('support_518', smooth[1]), ('query_518_plain', plain[0])):
        assert_close(image[:, ::21, ::21], expected[name], atol=2e-5)
    assert_close(smooth[0].mean((1, 2)), expected['query_mean'])
    assert_close(smooth[0].std((1, 2)), expected['query_std'])
