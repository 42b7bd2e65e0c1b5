"""The prototype head: exact contributions of support cells, empty sides, shared encodings, errors."""
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import FeaturePyramid, PrototypeMatchingHead
from mmfss.models.layers.class_prototypes import ClassPrototypes
from mmfss.models.layers.clustering import cosine_kmeans
from tests.references.decisions import assert_decided

WIDTHS = [[6, 6], [8]]
MODES = ('mean', 'cosine', 'gram')


def build(mode: str, **options: object) -> PrototypeMatchingHead:
    return PrototypeMatchingHead(WIDTHS, mode, num_prototypes=3, **options).eval().double()


def pyramid(images: int, seed: int = 0) -> FeaturePyramid:
    generator = torch.Generator().manual_seed(seed)
    sizes = ((6, 8), (3, 4))
    return FeaturePyramid(tuple(
        tuple(torch.randn(images, width, *size, generator=generator, dtype=torch.float64) for width in level)
        for level, size in zip(WIDTHS, sizes)))


def draw_masks(batch: int = 2, shots: int = 2, seed: int = 1) -> Tensor:
    masks = torch.rand(batch, shots, 6, 8, generator=torch.Generator().manual_seed(seed)) > 0.5
    return F.interpolate(masks.double(), scale_factor=4)


def draw_region(batch: int = 2) -> Tensor:
    return torch.rand(batch, 24, 32, generator=torch.Generator().manual_seed(2)) > 0.7


def raw_maps(head: PrototypeMatchingHead, query: FeaturePyramid, encoding: tuple) -> list[Tensor]:
    """Maps of every layer before scaling, maximum and mean, T included, at the prediction's size, (B, 2, M, H, W)."""
    maps = []
    finest = None
    for affinity, prototypes in zip(head.match(query, encoding), encoding):
        found = prototypes.cosine_maps(affinity.cells)
        if head.mode == 'gram':
            found = torch.cat((found, prototypes.gram_maps(affinity.cells)[:, :, None]), dim=2)
        found = 20 / len(encoding) * found.unflatten(-1, affinity.query_size)
        finest = finest or [head.upsample * side for side in affinity.query_size]
        found = found.flatten(0, 1)
        if head.upsample > 1:
            found = F.interpolate(found, scale_factor=head.upsample, mode='bilinear', align_corners=False)
        for size in (finest, (24, 32)):
            found = F.interpolate(found, tuple(size), mode='bilinear', align_corners=True)
        maps.append(found.unflatten(0, (-1, 2)))
    return maps


def region_means(head: PrototypeMatchingHead, query: FeaturePyramid, encoding: tuple, region: Tensor) -> list[Tensor]:
    return [(maps * region[:, None, None]).sum((3, 4)) / region.sum((1, 2))[:, None, None]
            for maps in raw_maps(head, query, encoding)]


LAYERS = [dict(), dict(layers=[(0, -1), (1, -1)]), dict(layers=[(0, 0)], upsample=3)]


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('options', LAYERS)
def test_readout_sums_to_the_maps(mode: str, options: dict) -> None:
    head, query, region = build(mode, **options), pyramid(2), draw_region()
    encoding = head.encode_support(pyramid(4, seed=5), draw_masks())
    parts = head.true_attribution(query, encoding, region)
    for found, expected in zip(parts, region_means(head, query, encoding, region)):
        torch.testing.assert_close(found.sum((3, 4, 5)), expected, rtol=0, atol=1e-12)
    if mode != 'gram':  # the logits themselves
        logits = F.interpolate(head(query, encoding), (24, 32), mode='bilinear', align_corners=True)
        mean = (logits * region[:, None]).sum((2, 3)) / region.sum((1, 2))[:, None]
        torch.testing.assert_close(sum(x.sum((2, 3, 4, 5)) for x in parts), mean, rtol=0, atol=1e-12)
    else:
        assert all((x[:, :, -1] >= 0).all() for x in parts)


def without_cell(prototypes: ClassPrototypes, cell: int) -> ClassPrototypes:
    """Compute the prototypes again, of all cells but one; clusters are kept."""
    weights, members = prototypes.weights.clone(), prototypes.assignments.clone()
    weights[:, :, cell], members[..., cell] = 0, 0
    return ClassPrototypes.of_members(prototypes.cells, weights, members, prototypes.size, prototypes.grams is not None)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('options', LAYERS)
def test_removal_is_the_change_without_the_cell(mode: str, options: dict) -> None:
    head, query, region = build(mode, **options), pyramid(2), draw_region()
    encoding = head.encode_support(pyramid(4, seed=5), draw_masks())
    removal = head.true_attribution(query, encoding, region, kind='removal')
    whole = region_means(head, query, encoding, region)
    for layer, prototypes in enumerate(encoding):
        found = removal[layer].flatten(3)
        for cell in range(0, found.shape[-1], 7):
            changed = list(encoding)
            changed[layer] = without_cell(prototypes, cell)
            expected = whole[layer] - region_means(head, query, tuple(changed), region)[layer]
            torch.testing.assert_close(found[..., cell], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize('mode', MODES)
def test_the_last_cell_takes_the_map_with_it(mode: str) -> None:
    head, query, region = build(mode), pyramid(1), draw_region(1)
    cells, weights = torch.randn(1, 12, 8, dtype=torch.float64), torch.zeros(1, 2, 12, dtype=torch.float64)
    weights[0, 0, :6], weights[0, 1, 8] = 1, 1
    encoding = (head.encode_classes(cells, weights, (1, 3, 4)), )
    layers = [(-1, -1)]
    if mode == 'cosine':
        head = build(mode, layers=layers)
    readout, removal = (head.true_attribution(query, encoding, region, kind)[0][:, 1] for kind in
                        ('readout', 'removal'))
    torch.testing.assert_close(removal, readout, rtol=0, atol=1e-12)
    assert removal.abs().sum() > 0 and removal.flatten(2)[..., :8].abs().sum() == 0


@pytest.mark.parametrize('mode', ('mean', 'gram'))
def test_maps_do_not_depend_on_the_masks_scale(mode: str) -> None:
    """Gradient times weight sums to zero over the cells: such explainers are degenerate."""
    head, query = build(mode), pyramid(1)
    cells = pyramid(1, seed=5)[1][0].flatten(2).transpose(1, 2)
    weights = torch.rand(1, 2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    weights.requires_grad_()
    score = head(query, (head.encode_classes(cells, weights, (1, 3, 4)), ))[:, 1].mean()
    gradient, = torch.autograd.grad(score, weights)
    assert gradient.abs().max() > 1e-3
    assert (gradient * weights.detach())[:, 1].sum().abs() < 1e-12


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('value', (0., 1.))
def test_empty_and_full_masks(mode: str, value: float) -> None:
    """In float32, where a resized mask of ones leaves rounding noise."""
    head = build(mode).float()
    support, query = (x.map(Tensor.float) for x in (pyramid(2, seed=5), pyramid(1)))
    logits = head(query, head.encode_support(support, torch.full((1, 2, 23, 31), value)))
    empty, there = (1, 0) if value == 0 else (0, 1)
    assert logits.isfinite().all()
    assert (logits[:, empty] == (-100 * 20 if mode == 'gram' else 0)).all()
    assert (logits[:, there] != 0).any()
    region = torch.ones(1, 24, 32)
    for kind in ('readout', 'removal'):
        parts = head.true_attribution(query, head.encode_support(support, torch.full((1, 2, 23, 31), value)), region,
                                      kind)
        assert all(x.isfinite().all() and (x[:, empty] == 0).all() for x in parts)


@pytest.mark.parametrize('mode', MODES)
def test_shared_encodings_and_batches(mode: str) -> None:
    """One support set serves several queries, and a batch of supports gives what each gives alone."""
    head, queries, masks = build(mode), pyramid(3), draw_masks(3)
    supports = pyramid(6, seed=5)
    one = head.encode_support(supports.select(torch.tensor([0, 1])), masks[:1])
    shared, batch = head(queries, one), head(queries, head.encode_support(supports, masks))
    for i in range(3):
        query, own = queries.select(torch.tensor([i])), supports.select(torch.tensor([2 * i, 2 * i + 1]))
        torch.testing.assert_close(head(query, one)[0], shared[i], rtol=0, atol=1e-10)
        torch.testing.assert_close(head(query, head.encode_support(own, masks[[i]]))[0], batch[i], rtol=0, atol=1e-10)
    parts = head.true_attribution(queries, one, draw_region(3))
    assert parts[0].shape[0] == 3


def test_level_removed_leaves_the_mean_of_the_others() -> None:
    head, query = build('cosine', layers=[(0, -1), (1, -1)]), pyramid(1)
    encoding = head.encode_support(pyramid(2, seed=5), draw_masks(1))
    evidence = [head.aggregate(affinity, encoding) for affinity in head.match(query, encoding)]
    kept = head.decode([evidence[0], torch.zeros_like(evidence[1])], query, encoding)
    torch.testing.assert_close(kept, 20 * evidence[0][:, :, 0])
    assert (head.decode([torch.zeros_like(x) for x in evidence], query, encoding) == 0).all()


def test_affinities_are_cosines() -> None:
    head, query = build('mean'), pyramid(1)
    encoding = head.encode_support(pyramid(2, seed=5), draw_masks(1))
    affinity, = head.match(query, encoding)
    cosines = F.cosine_similarity(query[1][0].flatten(2).transpose(1, 2)[:, :, None],
                                  pyramid(2, seed=5)[1][0].transpose(0, 1).flatten(1).T[None, None], dim=-1)
    torch.testing.assert_close(affinity.dense(), 20 * cosines)


def test_spread_start_finds_what_is_apart() -> None:
    """Three heaps of directions of different length: each is a cluster, whatever the start."""
    heaps = torch.eye(3, 5, dtype=torch.float64).repeat_interleave(4, 0)
    noise = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cells = (heaps + 0.05 * noise) * torch.linspace(1, 3, 12, dtype=torch.float64)[:, None]
    weights = torch.zeros(1, 2, 12, dtype=torch.float64)
    weights[:, 1] = 1
    prototypes = build('gram').encode_classes(cells[None], weights, (1, 3, 4))
    members = prototypes.assignments[0, 1] > 0
    assert {tuple(row.nonzero()[:, 0].tolist()) for row in members} == {(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)}
    assert not prototypes.exists[0, 0].any()


def test_lost_clusters() -> None:
    """A centre that lost its cells stays, or is drawn anew."""
    cells = torch.tensor([[[1., 0.], [1., 0.], [0., 1.]]])
    seeds, exists = torch.tensor([[0, 1, 2]]), torch.ones(1, 3).bool()
    members, _ = cosine_kmeans(cells, torch.ones(1, 3), seeds, exists)
    assert members.sum(2).tolist() == [[2, 0, 1]]
    torch.manual_seed(0)
    members, _ = cosine_kmeans(cells, torch.ones(1, 3), seeds, exists, redraw_empty=True)
    assert members.sum() == 3


def test_finds_the_object() -> None:
    """Object and background differ in direction: every mode finds the object in another image."""
    masks = torch.zeros(1, 1, 24, 32).double()
    masks[..., 8:20, 8:24] = 1
    where = torch.zeros(1, 1, 6, 8).double()
    where[..., 2:5, 2:6] = 1
    fine = torch.cat((1 - where, 0.3 * where, where, 1 - where, where, torch.ones_like(where)), dim=1)
    features = FeaturePyramid(((fine, fine), ))
    for mode in MODES:
        head = PrototypeMatchingHead([[6, 6]], mode, num_prototypes=1).double().eval()
        logits = head(features, head.encode_support(features, masks)).detach()
        assert_decided(logits[0], 1e-3)
        assert (logits.argmax(1) == where[:, 0]).all(), mode


def test_training() -> None:
    assert [build(mode).training_free for mode in MODES] == [True, False, True]
    head = build('cosine')
    assert {name.split('.')[0] for name, _ in head.named_parameters()} == {'adapters', 'temperature'}
    mean = build('mean')
    assert not list(mean.parameters())
    encoding = mean.encode_support(pyramid(1), draw_masks(1, 1))
    with pytest.raises(ValueError, match='nothing to train'):
        mean.forward_train(pyramid(1), encoding, torch.zeros(1, 24, 32))


@pytest.mark.parametrize(('options', 'message'), [
    (dict(mode='median'), 'mode must be one of mean, cosine, gram'),
    (dict(start='far'), "start must be 'spread' or 'random'"),
    (dict(temperature=0), 'above 0'),
    (dict(num_prototypes=0), 'at least 1'),
    (dict(layers=[(0, 2)]), r'layers has \(0, 2\), but the backbone gives levels of \[2, 1\] maps'),
])
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrototypeMatchingHead(WIDTHS, **options)


def test_unknown_kind() -> None:
    head = build('mean')
    encoding = head.encode_support(pyramid(1), draw_masks(1, 1))
    with pytest.raises(ValueError, match="kind must be 'readout' or 'removal'"):
        head.true_attribution(pyramid(1), encoding, draw_region(1), kind='shapley')
