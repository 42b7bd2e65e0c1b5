from math import isnan
from pathlib import Path

import pytest
import torch

from mmfss.evaluation import EpisodicIoU
from mmfss.evaluation.episode_table import best_episodes, read_episodes, worst_episodes, write_episodes


def run_metric() -> EpisodicIoU:
    metric = EpisodicIoU(num_replicates=0)
    metric.dataset_meta = dict(classes=('cat', 'dog'), fold_class_ids=[0, 1], seed=7)
    target = torch.tensor([[[0, 1, 1, 2], [1, 1, 255, 2]]])
    right, half = target.clamp(max=2), target.clone()
    half[half == 255], half[half == 2] = 0, 0
    for index, prediction in ((1, half), (0, right)):
        metric.process(None, [dict(
            class_ids=[1, 0], episode_index=index, query_name=f'q|{index}', support_names=[['a', 'b'], ['c', 'd']],
            gt_sem_seg=dict(data=target), pred_sem_seg=dict(data=prediction))])
    metric.evaluate(size=2)
    return metric


def test_rows_and_file(tmp_path: Path) -> None:
    rows = run_metric().episodes
    assert [(row.index, row.class_name, row.iou) for row in rows] == [
        (0, 'dog', 1), (0, 'cat', 1), (1, 'dog', 1), (1, 'cat', 0)]
    first = rows[0]
    assert first.object_size == pytest.approx(4 / 7) and rows[1].object_size == pytest.approx(2 / 7)
    assert (first.supports, first.ways, first.shots, first.seed, first.presence) == (('a', 'b'), 2, 2, 7, None)
    write_episodes(rows, tmp_path / 'episodes.csv')
    again = read_episodes(tmp_path / 'episodes.csv')
    assert [(row.query, row.supports, row.iou) for row in again] == [
        (row.query, row.supports, row.iou) for row in rows]
    assert worst_episodes(again, 1)[0].index == 1 and best_episodes(again, 2)[0].index == 0


def test_a_class_that_is_nowhere_has_no_iou(tmp_path: Path) -> None:
    metric = EpisodicIoU(num_replicates=0)
    metric.dataset_meta = dict(classes=('cat', ), fold_class_ids=[0])
    nothing = torch.zeros(1, 2, 2, dtype=torch.long)
    metric.process(None, [dict(class_ids=[0], gt_sem_seg=dict(data=nothing), pred_sem_seg=dict(data=nothing))])
    metric.evaluate(size=1)
    write_episodes(metric.episodes, tmp_path / 'episodes.csv')
    row, = read_episodes(tmp_path / 'episodes.csv')
    assert isnan(row.iou) and not worst_episodes([row], 3)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'x.csv'
    path.write_text('a,b\n1,2\n')
    with pytest.raises(ValueError, match='no episodes.csv .* it has no column "index"'):
        read_episodes(path)
    write_episodes(run_metric().episodes, path)
    path.write_text(path.read_text().replace('0,dog', 'zero,dog', 1))
    with pytest.raises(ValueError, match='x.csv, line 2'):
        read_episodes(path)
