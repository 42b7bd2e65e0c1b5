"""Debiased features: the basis is exact, kept, and computed again when it must be."""
import copy
import threading
from unittest import mock

import pytest
import torch
from torch import nn

from mmfss.models import FeaturePyramid, FewShotSegmentor
from mmfss.models.features.debiased import DebiasedFeatures
from mmfss.models.features.position_basis import PositionBasis
from tests.tiny.insid3 import build_insid3


@pytest.fixture
def model() -> FewShotSegmentor:
    return build_insid3()


@pytest.fixture
def computed() -> mock.MagicMock:
    with mock.patch.object(PositionBasis, 'of_blank_image', side_effect=PositionBasis.of_blank_image) as found:
        yield found


class TestBasis:

    def test_equals_the_singular_vectors(self) -> None:
        features = torch.randn(24, 8, 9, generator=torch.Generator().manual_seed(0)) + 1
        basis = PositionBasis.of_blank_image(features, 5)
        columns = torch.nn.functional.normalize(features.flatten(1).double(), dim=0)
        left, values, _ = torch.linalg.svd(columns - columns.mean(1, keepdim=True), full_matrices=False)
        torch.testing.assert_close(basis.singular_values, values)
        expected = left[:, :5] @ left[:, :5].T
        torch.testing.assert_close(basis.directions @ basis.directions.T, expected.float(), rtol=0, atol=1e-6)
        whole = torch.cat((basis.directions, basis.others), dim=1)
        torch.testing.assert_close(whole.T @ whole, torch.eye(24), rtol=0, atol=1e-6)

    def test_more_directions_than_positions(self) -> None:
        with pytest.raises(ValueError, match='16 positions of a grid of 4 x 4.*num_components below 16'):
            PositionBasis.of_blank_image(torch.randn(32, 4, 4), 20)

    def test_more_directions_than_channels(self) -> None:
        with pytest.raises(ValueError, match='below the 16 channels.*got 500'):
            build_insid3(features=dict(num_components=500))
        with pytest.raises(ValueError, match='below the 16 channels.*got 16'):
            build_insid3(features=dict(num_components=16))

    def test_default_number_scales_with_the_channels(self) -> None:
        reader, backbone = DebiasedFeatures(dict(type='ResNetFeatures', indices=[3])), build_insid3().backbone
        (raw, debiased), = reader.channels(backbone)
        assert (raw, raw - debiased) == (16, reader.num_removed(16))
        numbers = [reader.num_removed(width) for width in (64, 512, 1024)]
        assert numbers[0] * 8 == numbers[1] and numbers[1] * 2 == numbers[2]


class TestMaps:

    def test_compact_ones_have_the_same_products(self, model: FewShotSegmentor) -> None:
        images = torch.randn(2, 3, 64, 80)
        whole = build_insid3(features=dict(compact=False))
        maps = [m.extract_feat(images)[0][1].flatten(2) for m in (model, whole)]
        assert [x.shape[1] for x in maps] == [14, 16]
        products = [x.transpose(1, 2) @ x for x in maps]
        torch.testing.assert_close(*products, rtol=0, atol=1e-5)

    def test_nothing_removed(self) -> None:
        model = build_insid3(features=dict(num_components=0, compact=False))
        raw, same = model.extract_feat(torch.randn(1, 3, 64, 64))[0]
        torch.testing.assert_close(raw, same)

    def test_half_precision_features_become_float32(self, model: FewShotSegmentor) -> None:
        with torch.autocast('cpu', torch.bfloat16):
            pyramid = model.extract_feat(torch.randn(1, 3, 64, 64))
        assert {x.dtype for x in pyramid[0]} == {torch.float32}


class TestKeeping:

    def test_once_per_size(self, model: FewShotSegmentor, computed: mock.MagicMock) -> None:
        for size in (64, 64, 80, 64):
            model.extract_feat(torch.randn(1, 3, size, size))
        assert computed.call_count == 2

    def test_anew_after_changed_weights(self, model: FewShotSegmentor, computed: mock.MagicMock) -> None:
        images = torch.randn(1, 3, 64, 64)
        before = model.extract_feat(images)[0][1]
        with torch.no_grad():
            model.backbone.conv1.weight.mul_(-1)
        changed = model.extract_feat(images)[0][1]
        assert computed.call_count == 2 and not torch.equal(before, changed)
        model.load_state_dict(build_insid3().state_dict())
        torch.testing.assert_close(model.extract_feat(images)[0][1], before)
        assert computed.call_count == 3

    def test_copies_with_shared_weights_share_it(self, model: FewShotSegmentor, computed: mock.MagicMock) -> None:
        images = torch.randn(1, 3, 64, 64)
        model.extract_feat(images)
        shared = {id(x): nn.Parameter(x.detach(), requires_grad=False) for x in model.parameters()}
        shared |= {id(x): x for x in model.buffers()}
        copy.deepcopy(model, shared).extract_feat(images)
        assert computed.call_count == 1
        copy.deepcopy(model).extract_feat(images)
        assert computed.call_count == 2

    def test_threads_compute_it_once(self, model: FewShotSegmentor, computed: mock.MagicMock) -> None:
        images = torch.randn(1, 3, 64, 64)
        threads = [threading.Thread(target=model.extract_feat, args=(images, )) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert computed.call_count == 1

    def test_found_in_inference_mode_it_serves_gradients(self, model: FewShotSegmentor) -> None:
        images = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            model.extract_feat(images)
        model.extract_feat(images.requires_grad_())[0][1].sum().backward()
        assert images.grad.isfinite().all()


class TestOnce:

    def test_expanded_pyramids_share_results(self) -> None:
        pyramid = FeaturePyramid(((torch.rand(1, 2, 3, 3), ), ))
        pyramids = pyramid.expand(4), pyramid, pyramid.expand(2).expand(2)
        found = [x.once('sum', lambda source: source[0][0].sum()) for x in pyramids]
        assert found[0] is found[1] is found[2]

    def test_other_keys_and_parts_have_their_own(self) -> None:
        pyramid = FeaturePyramid(((torch.rand(2, 2, 3, 3), ), ))
        first = pyramid.once(('mean', 0), lambda x: x[0][0].mean(0))
        assert pyramid.once(('mean', 1), lambda x: x[0][0].mean(1)) is not first
        assert pyramid.split([1, 1])[0].once(('mean', 0), lambda x: x.batch_size) == 1
