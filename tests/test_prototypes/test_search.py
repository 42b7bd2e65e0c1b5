"""The search for nearest training patches against the reference numbers and a literal loop."""
import numpy as np
import pytest
import torch
from torch import Tensor

from mmfss.models import PrototypeHead
from mmfss.models.layers.prototypes import downsample_labels, log_similarity
from mmfss.prototypes.push_result import apply_push, resolve
from mmfss.prototypes.search import NearestCells, NearestImages, hit_label
from mmfss.visualization.prototype_pictures import activation_box, cell_box, prototype_boxes
from tests.references.scaleproto_golden import D, H, N, P, S, W, build_head, golden, raw_features, stage1_head

PUSH = golden('push')


def head_before() -> PrototypeHead:
    head = stage1_head()
    head.prototypes.data = torch.from_numpy(PUSH['prototype_vectors_before']).flatten(1).clone()
    return head


def features(n: int, kind: str = 'push') -> Tensor:
    return raw_features(f'{kind}.feat.{n}', S * D, H, W).sigmoid()[None]


def labels(name: str = 'push') -> Tensor:
    """Labels of the file with 0 for the first class and -1 for void."""
    return torch.from_numpy(golden(name)['labels'].astype(np.int64)) - 1


def search(head: PrototypeHead, images=range(N)) -> NearestCells:
    found = NearestCells(head)
    for n in images:
        found.update(head.scale_features(features(n)), downsample_labels(labels()[n:n + 1], (H, W)), [n])
    return found


def test_winners() -> None:
    found = search(head_before())
    present = np.isfinite(PUSH['min_distance_per_image']).any(0)
    assert (found.image >= 0).numpy().tolist() == present.tolist()
    assert found.image[present].tolist() == PUSH['winner_image'][present].tolist()
    assert found.cell[present].tolist() == PUSH['winner_flat_index'][present].tolist()
    np.testing.assert_allclose(found.distance.square()[present], PUSH['min_distance_per_image'].min(0)[present],
                               atol=2e-6)


def test_winners_of_every_image() -> None:
    head = head_before()
    for n in range(N):
        found = search(head, [n])
        present = np.isfinite(PUSH['min_distance_per_image'][n])
        assert found.cell[present].tolist() == PUSH['argmin_per_image'][n][present].tolist()


def test_published_removal_of_duplicates() -> None:
    head = head_before()
    result = resolve(search(head), head, absent='collapse', duplicates='all')
    assert result.kept.tolist() == PUSH['unique_index'].tolist() and result.absent == [3, 4]
    apply_push(head, result)
    # The features are sigmoids, of which CPUs differ in the last bit.
    np.testing.assert_allclose(head.prototypes.detach(), PUSH['prototype_vectors_after'].reshape(27, D), rtol=0,
                               atol=2e-7)
    for prototype, (image, row, column, scale) in zip(head.prototypes, head.proto_source.tolist()):
        if image >= 0:
            assert prototype.equal(head.scale_features(features(image))[0, scale, :, row, column])
    assert head.proto_class.tolist() == PUSH['prototype_class_after'].tolist()
    assert [[part.start, part.stop] for part in head.scale_slices] == PUSH['scale_ranges_after'].tolist()
    np.testing.assert_allclose(head.classifier.weight.detach(), PUSH['last_layer_after'], atol=1e-6)


def test_classes_without_a_cell_go() -> None:
    head = head_before()
    result = resolve(search(head), head)
    assert result.absent == [3, 4] and (head.proto_class[result.kept] < 3).all()
    # Prototype 1 was made to look like prototype 0; pairs of other scales are not compared.
    assert (1, 0) in result.duplicates
    kept = [p for p in PUSH['unique_index'] if head.proto_class[p] < 3]
    assert result.kept.tolist() == kept
    apply_push(head, result)
    assert head.own_prototypes.sum(1).tolist()[3:] == [0, 0] and (head.proto_source[:, 0] >= 0).all()


def test_every_prototype_is_a_feature_and_stays_one() -> None:
    head = head_before()
    apply_push(head, resolve(search(head), head))
    for p in range(head.num_prototypes):
        image, row, col, scale = head.proto_source[p].tolist()
        assert head.prototypes[p].equal(head.scale_features(features(image))[0, scale, :, row, col])
        assert downsample_labels(labels()[image:image + 1], (H, W))[0, row, col] == head.proto_class[p]
    vectors, sources = head.prototypes.clone(), head.proto_source.clone()
    again = search(head)
    assert (again.distance == 0).all()
    apply_push(head, resolve(again, head))
    assert head.prototypes.equal(vectors) and head.proto_source.equal(sources)


def test_two_searches_merged() -> None:
    head = head_before()
    one, first, second = search(head), search(head, range(0, N, 2)), search(head, range(1, N, 2))
    for mine, other in ((first, second), (search(head, range(1, N, 2)), search(head, range(0, N, 2)))):
        mine.merge(other.state_dict())
        for name, value in one.state_dict().items():
            assert mine.state_dict()[name].equal(value), name


def test_equal_distances_go_to_the_first() -> None:
    head, z = build_head(), features(0)
    label = torch.zeros(1, H, W, dtype=torch.int64)
    same = z[..., :1, :1].expand_as(z)
    found = NearestCells(head)
    for n in (3, 5):
        found.update(head.scale_features(same), label, [n])
    own = head.proto_class == 0
    assert (found.image[own] == 3).all() and (found.cell[own] == 0).all()
    earlier = NearestCells(head)
    earlier.update(head.scale_features(same), label, [1])
    found.merge(earlier.state_dict())
    assert (found.image[own] == 1).all()


def test_literal_loop() -> None:
    """Image by image, prototype by prototype."""
    head, found = head_before(), search(head_before())
    for p in range(P):
        best = (np.inf, -1, -1)
        for n in range(N):
            own = features(n)[0].unflatten(0, (S, D))[head.proto_scale[p]].flatten(1)
            distance = (own - head.prototypes[p][:, None]).square().sum(0).detach()
            distance[downsample_labels(labels()[n:n + 1], (H, W)).flatten() != head.proto_class[p]] = np.inf
            cell = int(distance.argmin())
            if distance[cell] < best[0]:
                best = (float(distance[cell]), n, cell)
        assert (int(found.image[p]), int(found.cell[p])) == best[1:]


def test_no_cell_of_any_class() -> None:
    head = head_before()
    with pytest.raises(ValueError, match='no cell of any class'):
        resolve(NearestCells(head), head)


@torch.no_grad()
def test_boxes() -> None:
    head, found = head_before(), search(head_before())
    for p in (found.image >= 0).nonzero().flatten().tolist():
        n, (row, col) = int(found.image[p]), divmod(int(found.cell[p]), W)
        activation = log_similarity(torch.cat(head.distances(features(n)), 1))[0, p].numpy()
        cell, activated, of_class = prototype_boxes(activation, (labels()[n] == head.proto_class[p]).numpy(), row, col)
        assert [n, *cell, head.proto_class[p]] == PUSH['rf_boxes'][p].tolist()
        np.testing.assert_allclose(activated, PUSH['bound_boxes'][p, 1:5], atol=1)
        for box in (activated, of_class):
            assert box.top <= cell.top < min(cell.bottom, 8 * H) <= box.bottom <= 8 * H
            assert box.left <= cell.left < min(cell.right, 8 * W) <= box.right <= 8 * W


def test_box_grows_over_what_is_activated() -> None:
    activation = np.zeros((40, 40), np.float32)
    activation[10:25, 12:20] = 1
    start = cell_box(3, 3, (10, 10), (40, 40))
    assert start == (12, 17, 12, 17)
    assert activation_box(activation, start, 0.5, margin=0) == (10, 25, 12, 20)
    assert activation_box(activation, start, 0.5) == (5, 30, 7, 25)
    assert activation_box(activation, start, 2.0, margin=0) == (12, 18, 12, 18)


@torch.no_grad()
def test_nearest_images_and_pruning() -> None:
    expected, head = golden('prune'), stage1_head()
    head.prototypes.data = torch.from_numpy(expected['prototype_vectors']).flatten(1)
    nearest, maps = NearestImages(P, 6), labels('prune')
    for n in range(len(maps)):
        distances = torch.cat(head.distances(features(n, 'prune')), 1)[0]
        nearest.update(distances, downsample_labels(maps[n:n + 1], (H, W))[0], maps[n], head.proto_class, n)
    assert nearest.label.tolist() == expected['nearest_labels'].tolist()
    assert (nearest.distance.diff(dim=1) >= 0).all()
    hits = (nearest.label == head.proto_class[:, None]).sum(1)
    assert (hits < 3).nonzero().flatten().tolist() == expected['pruned'].tolist()
    head.keep_prototypes((hits >= 3).nonzero().flatten())
    assert head.proto_class.tolist() == expected['prototype_class_after'].tolist()
    assert [[part.start, part.stop] for part in head.scale_slices] == expected['scale_ranges_after'].tolist()


def test_label_of_a_hit() -> None:
    block = torch.tensor([[0, 0, 1, 1], [0, 2, 1, -1]])
    assert hit_label(block, 0, (1, 2), 2) == 2
    assert hit_label(block, 0, (1, 2), 3) == 0
    assert hit_label(block, 1, (1, 2), 3) == 1
