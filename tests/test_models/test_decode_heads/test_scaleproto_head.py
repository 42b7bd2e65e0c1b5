"""Stage 1 of ScaleProtoSeg against the reference numbers."""
import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from mmfss.models.layers.prototypes import downsample_labels, log_similarity
from mmfss.utils.checkpoint import CheckpointError
from tests.references.scaleproto_golden import B, C, D, H, P, S, W, build_head, golden, raw_features, stage1_head

# Labels of the files: 0 void, 1..C.
LABELS = torch.from_numpy(golden('stage1_losses')['labels'].astype(np.int64) - 1).masked_fill_(
    torch.from_numpy(golden('stage1_losses')['labels'] == 0), 255)


def features() -> Tensor:
    return raw_features('feat', B, S * D, H, W).sigmoid()


def close(actual: Tensor, expected: np.ndarray, atol: float = 1e-4, rtol: float = 0) -> None:
    torch.testing.assert_close(actual.detach(), torch.from_numpy(np.asarray(expected)), atol=atol, rtol=rtol)


class TestForward:

    def test_distances_and_similarities(self) -> None:
        expected, head = golden('stage1_forward'), stage1_head()
        close(features(), expected['conv_features'], 1e-6)
        distances = torch.cat(head.distances(features()), 1)
        close(distances, expected['distances'], 5e-6)
        similarities = log_similarity(distances, head.epsilon)
        found, wanted = similarities.movedim(1, -1).detach(), torch.from_numpy(expected['activations'])
        hits = torch.zeros_like(wanted, dtype=torch.bool)
        for prototype, image, _, row, col in expected['hits']:
            hits[image, row, col, prototype] = True
        assert hits.sum() == 4
        torch.testing.assert_close(found[~hits], wanted[~hits], atol=1e-4, rtol=0)
        torch.testing.assert_close(found[hits], wanted[hits], atol=0.15, rtol=0)

    def test_logits(self) -> None:
        expected, head = golden('stage1_forward'), stage1_head()
        close(head.classifier.weight, expected['last_layer_weight'], 1e-6)
        with torch.no_grad():
            close(head.classify(features()).movedim(1, -1), expected['logits'], 1e-3)
            head.classifier.weight.copy_(torch.from_numpy(expected['last_layer_init']))
            close(head.classify(features()).movedim(1, -1), expected['logits_init_last_layer'], 1e-3)

    def test_layout(self) -> None:
        expected, head = golden('stage1_forward'), stage1_head()
        assert head.proto_class.tolist() == expected['prototype_class'].tolist()
        assert [[part.start, part.stop] for part in head.scale_slices] == expected['scale_ranges'].tolist()
        close(build_head().classifier.weight, expected['last_layer_init'], 0)

    def test_scale_mixing(self) -> None:
        expected = golden('stage1_forward')['distances_scale_head_sum']
        close(torch.cat(stage1_head(scale_mixing='sum').distances(features()), 1), expected, 1e-4, 1e-5)
        for mixing in ('mult', 'concat'):
            logits = stage1_head(scale_mixing=mixing).classify(features())
            assert logits.shape == (B, C, H, W) and logits.isfinite().all()

    def test_two_at_once_are_two(self) -> None:
        head, z = stage1_head(), features()
        with torch.no_grad():
            both = head.classify(z)
            for image in range(B):
                torch.testing.assert_close(both[image:image + 1], head.classify(z[image:image + 1]), atol=1e-4, rtol=0)

    @pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
    def test_autocast_changes_nothing(self, dtype: torch.dtype) -> None:
        head, z = stage1_head(), features()
        with torch.no_grad():
            plain = head.classify(z)
            with torch.autocast('cpu', dtype):
                torch.testing.assert_close(head.classify(z), plain, atol=0, rtol=0)


class TestLosses:
    NAMES = dict(
        SampleEntropyLoss='entropy_sample', SpatialEntropyLoss='entropy_spatial', JeffreysDiversityLoss='kld',
        OffClassL1Loss='l1_last_layer')

    def test_values(self) -> None:
        expected = golden('stage1_losses')
        losses = stage1_head().losses(features(), LABELS)
        close(losses['loss_ce'], expected['cross_entropy'], 0, 1e-5)
        close(losses['loss_diversity'], 0.25 * expected['kld'], 0, 1e-5)
        close(losses['loss_l1'], 1e-4 * expected['l1_last_layer'], 0, 1e-5)
        close(sum(value for name, value in losses.items() if 'loss' in name), expected['total'], 0, 1e-5)
        assert losses['acc_seg'].item() == pytest.approx(100 * 11 / 187, rel=1e-5)

    @pytest.mark.parametrize(('cfg', 'name'), [
        *((dict(type=kind, loss_weight=1), name) for kind, name in NAMES.items()),
        (dict(type='ActivationNormLoss', order='l1'), 'norm_l1'),
        (dict(type='ActivationNormLoss', order='linf'), 'norm_linf')])
    def test_terms(self, cfg: dict, name: str) -> None:
        head = stage1_head(regularizers=[dict(cfg, loss_name='loss_term')])
        close(head.losses(features(), LABELS)['loss_term'], golden('stage1_losses')[name], 0, 1e-5)

    def test_gradients(self) -> None:
        expected, head = golden('stage1_losses'), stage1_head()
        raw = raw_features('feat', B, S * D, H, W).requires_grad_()
        losses = head.losses(raw.sigmoid(), LABELS)
        inputs = (raw, head.prototypes, head.classifier.weight)
        diversity = losses['loss_diversity'] / 0.25
        total = losses['loss_ce'] + losses['loss_diversity'] + losses['loss_l1']
        for row, (name, loss) in enumerate(dict(ce=losses['loss_ce'], kld=diversity, total=total).items()):
            grads = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
            norms = [0. if grad is None else grad.norm().item() for grad in grads]
            np.testing.assert_allclose(norms, expected['grad_norms'][row], rtol=1e-4)
            scale = np.abs(expected[f'grad_proto_{name}']).max()
            close(grads[1] / scale, expected[f'grad_proto_{name}'].reshape(P, D) / scale, 1e-5)
        close(grads[2], expected['grad_last_total'], 1e-5)
        sums, wanted = grads[0].sum((0, 2, 3)), expected['grad_raw_total_sum_per_channel']
        close(sums / np.abs(wanted).max(), wanted / np.abs(wanted).max(), 1e-5)

    def test_all_void(self) -> None:
        losses = stage1_head().losses(features().requires_grad_(), torch.full_like(LABELS, 255))
        assert losses['loss_ce'] == 0 and losses['loss_diversity'] == 0
        sum(value for name, value in losses.items() if 'loss' in name).backward()

    def test_void_cells_do_not_matter(self) -> None:
        kinds = ('JeffreysDiversityLoss', 'SampleEntropyLoss', 'SpatialEntropyLoss', 'ActivationNormLoss')
        head, z = stage1_head(regularizers=[dict(type=kind) for kind in kinds]), features()
        changed = z.clone()
        void = downsample_labels(LABELS, (H, W)) == 255
        assert void.any()
        changed.movedim(1, -1)[void] = torch.rand(int(void.sum()), S * D)
        before, after = head.losses(z, LABELS), head.losses(changed, LABELS)
        for name in before:
            torch.testing.assert_close(after[name], before[name])

    def test_labels_at_full_size(self) -> None:
        losses = stage1_head(label_downsample=False).losses(features(), LABELS)
        assert losses['loss_ce'] > 0 and losses['loss_ce'] != stage1_head().losses(features(), LABELS)['loss_ce']

    def test_resolutions_are_averaged(self) -> None:
        torch.manual_seed(0)
        head = build_head()
        torch.nn.init.normal_(head.scale_convs[0].weight)
        sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(C, (1, 16, 16))))
        pyramid = [(torch.randn(1, 3, 8, 8), ), (torch.randn(1, 3, 4, 4), )]
        maps = head.embeddings(pyramid)
        assert [tuple(x.shape[-2:]) for x in maps] == [(8, 8), (4, 4), (8, 8)]
        assert (maps[2] >= maps[0]).all() and (maps[2] > maps[0]).any()
        losses = head.loss(pyramid, [sample])
        single = [head.losses(x.sigmoid(), sample.gt_sem_seg.data)['loss_ce'] for x in maps]
        torch.testing.assert_close(losses['loss_ce'], sum(single) / 3)


class TestPrototypes:

    def test_keep(self) -> None:
        head, z = stage1_head(), features()
        kept = torch.tensor([0, 3, 5, 11, 12, 25, 39])
        with torch.no_grad():
            vectors, columns = head.prototypes[kept].clone(), head.classifier.weight[:, kept].clone()
            distances = torch.cat(head.distances(z), 1)[:, kept]
        parameter = head.prototypes
        head.keep_prototypes(kept)
        assert head.prototypes is parameter and head.num_prototypes == 7
        assert [part.stop - part.start for part in head.scale_slices] == [3, 2, 1, 1]
        torch.testing.assert_close(torch.cat(head.distances(z), 1).detach(), distances)
        assert (head.prototypes == vectors).all() and (head.classifier.weight == columns).all()
        losses = head.losses(z, LABELS)
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        assert all(parameter.grad.isfinite().all() for parameter in (head.prototypes, head.classifier.weight))

    @pytest.mark.parametrize('type_', ['ScaleProtoHead', 'ScaleProtoGroupHead'])
    def test_number_follows_the_checkpoint(self, type_: str, tmp_path) -> None:
        head = build_head()
        head.keep_prototypes(torch.arange(0, P, 3))
        other = build_head(type=type_)
        parameters = dict(other.named_parameters())
        other.load_state_dict(head.state_dict(), strict=type_ == 'ScaleProtoHead')
        assert (other.prototypes == head.prototypes).all() and other.proto_scale.equal(head.proto_scale)
        assert all(parameters[name] is value for name, value in other.named_parameters())
        assert other.classify(features()).shape == (B, C, H, W)
        torch.save(dict(state_dict={f'decode_head.{k}': v for k, v in head.state_dict().items()}), tmp_path / 'a.pth')
        assert build_head(type=type_, layout_from=str(tmp_path / 'a.pth')).num_prototypes == head.num_prototypes

    def test_another_model_is_refused(self, tmp_path) -> None:
        state = build_head(num_classes=C + 1).state_dict()
        with pytest.raises(CheckpointError, match=f'class reaches {C}, this head has {C} .num_classes'):
            build_head().load_state_dict(state)
        torch.save(dict(weight=torch.zeros(1)), tmp_path / 'b.pth')
        with pytest.raises(CheckpointError, match='b.pth" .layout_from. holds no prototypes'):
            build_head(layout_from=str(tmp_path / 'b.pth'))

    @pytest.mark.parametrize(('changes', 'message'), [
        (dict(prototypes_per_scale=0), 'prototypes_per_scale must be above 0'),
        (dict(scale_mixing='max'), "scale_mixing must be one of .*'concat'"),
        (dict(regularizers=[dict(type='OffClassL1Loss', loss_weight=-1)]), 'loss_weight must be 0 or more')])
    def test_bad_arguments(self, changes: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            build_head(**changes)

    def test_default_size(self) -> None:
        head = build_head(num_classes=19, scale_channels=64, prototypes_per_scale=3)
        assert head.prototypes.shape == (228, 64) and head.classifier.weight.shape == (19, 228)
        assert 0 <= head.prototypes.min() and head.prototypes.max() <= 1

    def test_several_processes_must_know_the_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        head, other = build_head(), build_head()
        head.keep_prototypes(torch.arange(0, P, 3))
        other.load_state_dict(head.state_dict())
        monkeypatch.setattr('mmfss.models.decode_heads.prototype_head.get_world_size', lambda: 2)
        with pytest.raises(ValueError, match='set model.decode_head.layout_from to the checkpoint'):
            other.loss([torch.zeros(1, 3, 8, 8)], [])
