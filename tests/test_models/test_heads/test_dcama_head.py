import copy

import numpy as np
import pytest
import torch
from torch import nn

from mmfss.converters.published_weights import dcama_head_to_mmfss
from mmfss.models import DCAMAHead, FeaturePyramid
from mmfss.registry import MODELS
from tests.references.dcama import (
    HEAD_CHANNELS,
    HEAD_SEED,
    assert_coarse,
    assert_logits,
    head_inputs,
    load,
    official_state_dict,
)
from tests.references.seeded import seeded_mask

SMALL = [[8] * 2, [16] * 1, [16, 32], [32]]


def reference_head(**kwargs) -> DCAMAHead:
    head = DCAMAHead(HEAD_CHANNELS, **kwargs)
    head.load_state_dict(dcama_head_to_mmfss(_head_names(official_state_dict('head'))))
    return head


def _head_names(state_dict: dict) -> dict:
    return {name.removeprefix('model.'): value for name, value in state_dict.items()}


def small_pyramid(batch: int, sizes=((16, 16), (8, 8), (4, 4), (2, 2)), seed: int = 0) -> FeaturePyramid:
    generator = torch.Generator().manual_seed(seed)
    return FeaturePyramid(
        tuple(
            tuple(torch.randn(batch, channels, *size, generator=generator) for channels in level)
            for level, size in zip(SMALL, sizes)))


class TestReference:
    """Equal to the official implementation, to the tolerances stated with the reference numbers."""

    @pytest.mark.parametrize(('name', 'batch', 'shots'), [('head_1shot_b2', 2, 1), ('head_3shot_b1', 1, 3),
                                                          ('head_2shot_b2', 2, 2)])
    @torch.no_grad()
    def test_logits_and_coarse_masks(self, name: str, batch: int, shots: int) -> None:
        head = reference_head().eval()
        query, support, masks = head_inputs(batch, shots)
        encoding = head.encode_support(support, masks)
        coarse = [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)]
        reference = load(f'{name}.npz')
        assert_coarse(coarse, reference)
        assert_logits(head.decode(coarse, query, encoding), reference)
        assert_logits(head(query, encoding), reference)

    @torch.no_grad()
    def test_bfloat16_is_close(self) -> None:
        head = reference_head().eval()
        query, support, masks = head_inputs(batch=1, shots=1)
        exact = head(query, head.encode_support(support, masks))
        with torch.autocast('cpu', dtype=torch.bfloat16):
            rough = head(query, head.encode_support(support, masks)).float()
        assert (rough - exact).abs().mean() < 0.02 * exact.std()
        assert (rough.argmax(1) == exact.argmax(1)).float().mean() > 0.99

    @pytest.mark.parametrize(('run', 'lr', 'loss', 'grad', 'norm', 'delta'), [
        ('official', 1e-3, 1e-5, 5e-3, 1e-5, 1e-2),
        ('lr0.01', 1e-2, 1e-4, 5e-3, 2e-4, 3e-2),
    ])
    def test_five_training_steps(self, run: str, lr: float, loss: float, grad: float, norm: float,
                                 delta: float) -> None:
        reference, official_names = load('train_head.npz'), load('train_head_params.json')
        head = reference_head(dropout=0., attention_dropout=0.).train()
        parameters = dict(head.named_parameters())
        ours = [next(iter(dcama_head_to_mmfss({name.removeprefix('model.'): None}))) for name in official_names]
        assert set(ours) == set(parameters)
        before = {name: parameters[name].detach().clone() for name in ours}
        optimizer = torch.optim.SGD(head.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=lr / 10)
        losses, grads = self._train(head, optimizer, [parameters[name] for name in ours])

        np.testing.assert_allclose(losses, reference[f'{run}_losses'], rtol=loss)
        # The softmax does not see the key's bias: its gradient is rounding noise, only weight decay moves it.
        seen = np.array([not name.endswith('linears.1.bias') for name in official_names])
        np.testing.assert_allclose(np.array(grads)[seen], reference[f'{run}_grad0'][seen], rtol=grad)
        norms = [parameters[name].detach().double().norm().item() for name in ours]
        np.testing.assert_allclose(norms, reference[f'{run}_norm'], rtol=norm)
        moves = np.array([(parameters[name].detach().double() - before[name].double()).norm().item() for name in ours])
        np.testing.assert_allclose(moves[seen], reference[f'{run}_delta'][seen], rtol=delta)
        np.testing.assert_allclose(moves[~seen], reference[f'{run}_delta'][~seen], rtol=0.2)

    @staticmethod
    def _train(head: DCAMAHead, optimizer: torch.optim.Optimizer, parameters: list) -> tuple[list, list]:
        query, support, masks = head_inputs(batch=2, shots=1)
        target = torch.from_numpy(seeded_mask('target', (2, 192, 192), HEAD_SEED)).long()
        losses, grads = [], []
        for step in range(6):
            loss = head.loss(head(query, head.encode_support(support, masks)), target)['loss_ce']
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                grads = [parameter.grad.double().norm().item() for parameter in parameters]
            if step < 5:
                optimizer.step()
        return losses, grads


class TestDCAMAHead:
    DEFAULT_ARGS = dict(type='DCAMAHead', in_channels=SMALL)

    @torch.no_grad()
    def test_batch_of_two_equals_two_of_one(self) -> None:
        head = MODELS.build(self.DEFAULT_ARGS)
        head.eval()
        query, support, masks = small_pyramid(2), small_pyramid(6, seed=1), (torch.rand(2, 3, 64, 64) > 0.5).float()
        both = head(query, head.encode_support(support, masks))
        for index, (one_query, one_support) in enumerate(zip(query.split((1, 1)), support.split((3, 3)))):
            one = head(one_query, head.encode_support(one_support, masks[index:index + 1]))
            torch.testing.assert_close(both[index:index + 1], one, rtol=0, atol=1e-5)

    @torch.no_grad()
    def test_shots_have_no_order(self) -> None:
        head = MODELS.build(self.DEFAULT_ARGS)
        head.eval()
        query, support, masks = small_pyramid(1), small_pyramid(3, seed=1), (torch.rand(1, 3, 64, 64) > 0.5).float()
        order = [2, 0, 1]
        shuffled = head.encode_support(support.map(lambda feature: feature[order]), masks[:, order])
        expected = head(query, head.encode_support(support, masks))
        torch.testing.assert_close(head(query, shuffled), expected, rtol=0, atol=1e-5)

    @torch.no_grad()
    def test_a_repeated_shot_changes_nothing(self) -> None:
        head = MODELS.build(self.DEFAULT_ARGS)
        head.eval()
        query, support, masks = small_pyramid(1), small_pyramid(1, seed=1), (torch.rand(1, 1, 64, 64) > 0.5).float()
        twice = head.encode_support(support.map(lambda feature: feature.repeat(2, 1, 1, 1)), masks.repeat(1, 2, 1, 1))
        expected = head(query, head.encode_support(support, masks))
        torch.testing.assert_close(head(query, twice), expected, rtol=0, atol=1e-5)

    @torch.no_grad()
    def test_coarse_masks_are_averages_of_the_mask(self) -> None:
        head = MODELS.build(self.DEFAULT_ARGS)
        head.eval()
        query, support = small_pyramid(1), small_pyramid(2, seed=1)
        for value in (0., 1.):
            encoding = head.encode_support(support, torch.full((1, 2, 64, 64), value))
            for affinity in head.match(query, encoding):
                expected = torch.full((1, 1, *affinity.query_size), value)
                torch.testing.assert_close(head.aggregate(affinity, encoding), expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize('sizes', [((17, 25), (9, 13), (5, 7), (3, 4)), ((16, 16), (8, 8), (8, 8), (8, 8))])
    def test_sizes_that_are_not_halves(self, sizes: tuple) -> None:
        head = MODELS.build(self.DEFAULT_ARGS)
        encoding = head.encode_support(small_pyramid(2, sizes, seed=1), torch.ones(2, 1, 65, 97))
        logits = head(small_pyramid(2, sizes), encoding)
        assert logits.shape == (2, 2, 4 * sizes[0][0], 4 * sizes[0][1])

    @torch.no_grad()
    def test_supports_of_another_size_than_the_query(self) -> None:
        head = MODELS.build(self.DEFAULT_ARGS)
        head.eval()
        sizes = ((8, 8), (4, 4), (2, 2), (1, 1))
        encoding = head.encode_support(small_pyramid(1, sizes), torch.ones(1, 1, 32, 32))
        affinities = list(head.match(small_pyramid(1), encoding))
        assert [affinity.query_size for affinity in affinities] == [(8, 8), (4, 4), (4, 4), (2, 2)]
        assert [affinity.support_size for affinity in affinities] == [(1, 4, 4), (1, 2, 2), (1, 2, 2), (1, 1, 1)]

    def test_one_attention_per_level_and_width(self) -> None:
        head = MODELS.build(self.DEFAULT_ARGS)
        assert [attention.query.in_features for attention in head.attention] == [16, 16, 32, 32]
        assert head.attention[0] is not head.attention[1]

    def test_key_projection_starts_as_the_query_projection(self) -> None:
        for attention in MODELS.build(self.DEFAULT_ARGS).attention:
            for name, value in attention.query.state_dict().items():
                assert torch.equal(value, attention.key.state_dict()[name])
            assert attention.query.weight is not attention.key.weight

    def test_dropout_acts_in_training_only(self) -> None:
        head = MODELS.build(self.DEFAULT_ARGS)
        query, support, masks = small_pyramid(1), small_pyramid(1, seed=1), torch.ones(1, 1, 64, 64)
        run = lambda: head(query, head.encode_support(support, masks))  # noqa: E731
        head.train()
        assert not torch.equal(run(), run())
        head.eval()
        assert torch.equal(run(), run())

    @pytest.mark.parametrize(('backbone', 'channels', 'counts', 'expected'), [
        ('resnet50', (256, 512, 1024, 2048), (3, 4, 6, 3), 14_215_394),
        ('resnet101', (256, 512, 1024, 2048), (3, 4, 23, 3), 14_222_194),
        ('swin', (128, 256, 512, 1024), (2, 2, 18, 2), 5_073_394),
    ])
    def test_number_of_parameters_is_the_official_one(self, backbone, channels, counts, expected) -> None:
        with torch.device('meta'):
            head = DCAMAHead([[width] * count for width, count in zip(channels, counts)])
        assert sum(parameter.numel() for parameter in head.parameters()) == expected

    def test_every_parameter_gets_a_gradient(self) -> None:
        head = MODELS.build(self.DEFAULT_ARGS)
        query, support, masks = small_pyramid(2), small_pyramid(4, seed=1), (torch.rand(2, 2, 64, 64) > 0.5).float()
        logits = head(query, head.encode_support(support, masks))
        head.loss(logits, torch.randint(0, 2, (2, 64, 64)))['loss_ce'].backward()
        assert [name for name, p in head.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []

    def test_ignored_pixels_are_background_by_default(self) -> None:
        logits = torch.randn(2, 2, 8, 8)
        target = torch.randint(0, 2, (2, 8, 8))
        target[:, :3] = 255
        head = DCAMAHead(SMALL)
        expected = nn.functional.cross_entropy(logits, target.masked_fill(target == 255, 0))
        torch.testing.assert_close(head.loss(logits, target)['loss_ce'], expected)
        head = DCAMAHead(SMALL, ignore_index=255)
        expected = nn.functional.cross_entropy(logits, target, ignore_index=255)
        torch.testing.assert_close(head.loss(logits, target)['loss_ce'], expected)

    def test_loss_of_another_kind(self) -> None:
        head = DCAMAHead(SMALL, loss_decode=dict(type='mmseg.DiceLoss', use_sigmoid=False))
        loss = head.loss(torch.randn(2, 2, 8, 8), torch.randint(0, 2, (2, 8, 8)))['loss_ce']
        assert loss.ndim == 0 and loss.item() > 0

    def test_tables_stay_out_of_checkpoints(self) -> None:
        head = copy.deepcopy(MODELS.build(self.DEFAULT_ARGS))
        names = set(head.state_dict())
        head(small_pyramid(1), head.encode_support(small_pyramid(1), torch.ones(1, 1, 64, 64)))
        assert set(head.state_dict()) == names == set(dict(head.named_parameters()))

    @pytest.mark.parametrize(('kwargs', 'message'), [
        (dict(in_channels=[[8], [8]]), '4 feature levels .* got 2'),
        (dict(in_channels=[[8], [8], [8], [12]]), '12 feature channels cannot be divided among 8 heads'),
    ])
    def test_errors(self, kwargs: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            DCAMAHead(**kwargs)
