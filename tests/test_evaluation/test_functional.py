import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmfss.evaluation.functional import bootstrap_intervals, compute_scores, episode_counts, tabulate_counts
from tests.references.seeded import seeded_image, seeded_mask

GOLDEN = json.loads((Path(__file__).parents[1] / 'data/evaluation/metric.json').read_text())
CLASS_IDS = [5, 6, 7, 8, 9]


def golden_episode(i: int, with_ignore: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and target of episode i of the reference run."""
    size, seed = (48, 48), 31
    gt = seeded_mask(f'gt{i}', size, seed)
    pred = seeded_image(f'pred{i}', size, seed) + 1.5 * gt > 0.75
    ignored = seeded_mask(f'ign{i}', size, seed) * (1 - gt)
    if i in (7, 8):
        pred = np.full(size, i == 8)
    elif i == 9:
        gt, ignored = np.zeros(size), seeded_mask('ign9', size, seed)
    elif i == 10:
        ignored = 1 - gt
    elif i == 11:
        pred, ignored = 1 - gt, np.zeros(size)
    elif i == 12:
        gt, pred, ignored = np.zeros(size), np.zeros(size), np.ones(size)
    target = gt.astype(np.int64)
    if with_ignore:
        target[ignored == 1] = 255
    return torch.from_numpy(pred.astype(np.int64)), torch.from_numpy(target)


def golden_entries(case: str) -> list[dict]:
    entries = []
    for i, class_id in enumerate(GOLDEN['class_ids']):
        pred, target = golden_episode(i, with_ignore=case != 'b')
        entries.append(dict(class_ids=[class_id], **episode_counts(pred, target, num_ways=1)))
    return [entry for entry in entries if case != 'c' or entry['class_ids'] != [9]]


def one_way(class_id: int, pixels: int, intersection: int, union: int) -> dict:
    return dict(class_ids=[class_id], pixels=pixels, intersection=[intersection], union=[union],
                foreground=[intersection, union])


class TestGolden:

    @pytest.mark.parametrize('case', ['a', 'b'])
    def test_counts_are_exact(self, case: str) -> None:
        entries = golden_entries(case)
        overall = tabulate_counts(entries, CLASS_IDS).overall
        assert [entry['intersection'][0] for entry in entries] == GOLDEN[f'inter_{case}'][1]
        assert [entry['union'][0] for entry in entries] == GOLDEN[f'union_{case}'][1]
        assert overall[:, 0, 0].tolist() == GOLDEN[f'inter_{case}'][0]
        assert overall[:, 0, 1].tolist() == GOLDEN[f'union_{case}'][0]

    @pytest.mark.parametrize('case', ['a', 'b', 'c'])
    def test_figures(self, case: str) -> None:
        scores = compute_scores(tabulate_counts(golden_entries(case), CLASS_IDS))
        assert scores.miou == pytest.approx(GOLDEN[f'case_{case}']['miou'], abs=1e-4)
        assert scores.fb_iou == pytest.approx(GOLDEN[f'case_{case}']['fb_iou'], abs=1e-4)
        np.testing.assert_allclose(scores.class_iou.T, 100 * np.array(GOLDEN[f'class_iou_{case}']), atol=1e-4)

    def test_order_and_grouping_do_not_matter(self) -> None:
        entries = golden_entries('a')
        shuffled = compute_scores(tabulate_counts(entries[1::2] + entries[::2], CLASS_IDS))
        assert shuffled.miou == compute_scores(tabulate_counts(entries, CLASS_IDS)).miou


class TestEpisodeCounts:

    def test_perfect(self) -> None:
        target = torch.tensor([[0, 1], [1, 255]])
        counts = episode_counts(torch.tensor([[0, 1], [1, 1]]), target, num_ways=1)
        assert counts == dict(pixels=3, intersection=[2], union=[2], foreground=[2, 2])

    def test_all_ignored(self) -> None:
        counts = episode_counts(torch.ones(2, 2, dtype=torch.long), torch.full((2, 2), 255), num_ways=1)
        assert counts == dict(pixels=0, intersection=[0], union=[0], foreground=[0, 0])

    def test_two_ways_by_hand(self) -> None:
        pred = torch.tensor([[0, 1, 2, 2, 1, 0]])
        target = torch.tensor([[0, 1, 2, 1, 0, 2]])
        counts = episode_counts(pred, target, num_ways=2)
        # Class 1: agreed at one pixel of three, class 2 likewise; any class: agreed at 1, 2, 3 of 1..5.
        assert counts == dict(pixels=6, intersection=[1, 1], union=[3, 3], foreground=[3, 5])

    def test_other_ignore_index(self) -> None:
        counts = episode_counts(torch.tensor([[1, 1]]), torch.tensor([[1, -1]]), num_ways=1, ignore_index=-1)
        assert counts['pixels'] == 1 and counts['union'] == [1]

    def test_does_not_change_its_inputs(self) -> None:
        pred, target = golden_episode(3, with_ignore=True)
        copies = pred.clone(), target.clone()
        episode_counts(pred, target, num_ways=1)
        assert torch.equal(pred, copies[0]) and torch.equal(target, copies[1])

    def test_errors(self) -> None:
        labels = torch.zeros(2, 2, dtype=torch.long)
        with pytest.raises(ValueError, match='same size'):
            episode_counts(labels, labels[:1], num_ways=1)
        with pytest.raises(ValueError, match='target labels must lie in 0..1, got 0 to 2'):
            episode_counts(labels, torch.tensor([[0, 0], [0, 2]]), num_ways=1)
        with pytest.raises(ValueError, match='predicted labels'):
            episode_counts(labels - 1, labels, num_ways=1)


class TestScores:

    def test_sums_before_ratios(self) -> None:
        scores = compute_scores(tabulate_counts([one_way(3, 100, 1, 10), one_way(3, 100, 9, 10)], [3]))
        assert scores.miou == pytest.approx(50)
        assert scores.class_iou[0].tolist() == pytest.approx([100 * 180 / 190, 50])
        assert scores.fb_iou == pytest.approx((100 * 180 / 190 + 50) / 2)

    def test_absent_class_counts_zero(self) -> None:
        table = tabulate_counts([one_way(3, 10, 4, 4)], [3, 4])
        assert compute_scores(table).miou == pytest.approx(50)
        assert table.episodes.tolist() == [1, 0]

    def test_nothing_to_count(self) -> None:
        scores = compute_scores(tabulate_counts([one_way(3, 0, 0, 0)], [3]))
        assert (scores.miou, scores.fb_iou) == (0, 0)

    def test_episodes_of_different_ways(self) -> None:
        two_way = dict(class_ids=[4, 3], pixels=10, intersection=[1, 2], union=[2, 4], foreground=[3, 6])
        entries = [one_way(3, 10, 2, 4), two_way]
        scores = compute_scores(tabulate_counts(entries, [3, 4]))
        assert scores.class_iou[:, 1].tolist() == pytest.approx([50, 50])
        assert scores.class_iou[:, 0].tolist() == pytest.approx([100 * 12 / 16, 100 * 8 / 9])
        assert scores.fb_iou == pytest.approx(50 * (5 / 10 + 10 / 15))

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match='No episode'):
            tabulate_counts([], [3])
        with pytest.raises(ValueError, match=r'classes \[7\]'):
            tabulate_counts([one_way(7, 1, 1, 1)], [3])


class TestBootstrap:

    def test_equals_rescoring_resampled_episodes(self) -> None:
        entries = golden_entries('a')
        intervals = bootstrap_intervals(tabulate_counts(entries, CLASS_IDS), num_replicates=200, seed=4)
        draws = np.random.default_rng(4).multinomial(60, np.full(60, 1 / 60), 200)
        mious, fbs = [], []
        for draw in draws:
            replicate = [entry for entry, times in zip(entries, draw) for _ in range(times)]
            scores = compute_scores(tabulate_counts(replicate, CLASS_IDS))
            mious.append(scores.miou)
            fbs.append(scores.fb_iou)
        assert intervals['mIoU'] == pytest.approx(np.percentile(mious, [2.5, 97.5]))
        assert intervals['FB-IoU'] == pytest.approx(np.percentile(fbs, [2.5, 97.5]))

    def test_equal_episodes_have_no_spread(self) -> None:
        table = tabulate_counts([one_way(3, 10, 2, 4)] * 20, [3])
        assert bootstrap_intervals(table)['mIoU'] == pytest.approx((50, 50))

    def test_rare_class_does_not_pull_the_interval_to_zero(self) -> None:
        # Class 4 has one episode, so a third of the replicates miss it; every replicate is perfect on what it has.
        table = tabulate_counts([one_way(3, 10, 4, 4)] * 30 + [one_way(4, 10, 4, 4)], [3, 4])
        assert bootstrap_intervals(table)['mIoU'] == pytest.approx((100, 100))
        # A class absent from the run stays a 0 in the mean.
        table = tabulate_counts([one_way(3, 10, 4, 4)] * 30, [3, 4])
        assert bootstrap_intervals(table)['mIoU'] == pytest.approx((50, 50))

    def test_seeded(self) -> None:
        table = tabulate_counts(golden_entries('b'), CLASS_IDS)
        assert bootstrap_intervals(table, seed=1) == bootstrap_intervals(table, seed=1)
        assert bootstrap_intervals(table, seed=1) != bootstrap_intervals(table, seed=2)
        low, high = bootstrap_intervals(table)['mIoU']
        assert low < compute_scores(table).miou < high
