import pytest

from mmfss.evaluation.fold_table import FoldScore, make_rows, to_markdown


def paper_scores() -> list[FoldScore]:
    """DCAMA with Swin-B on PASCAL-5i, 1-shot: folds and (mean, population std) as printed in the paper's Table 1."""
    mious = (72.2, 73.8, 64.3, 67.1)
    return [FoldScore('dcama', 1, f'fold {i}', miou, 78.5) for i, miou in enumerate(mious)]


def test_published_row() -> None:
    row, = make_rows(paper_scores())
    assert (row.method, row.shots, row.folds['fold 2']) == ('dcama', 1, 64.3)
    # The paper prints 69.3 (3.8): with the sample standard deviation it would be 4.4.
    assert row.mean == pytest.approx(69.35) and round(row.std, 1) == 3.8 and row.fb_iou == pytest.approx(78.5)


def test_rows_and_markdown() -> None:
    scores = [
        FoldScore('model', 1, 'fold 0', 10, 20),
        FoldScore('copy', 1, 'fold 0', 5, 6),
        FoldScore('model', 1, 'fold 1', 30, 40),
        FoldScore('model', 5, 'fold 0', 50, 60),
    ]
    rows = make_rows(scores)
    assert [(row.method, row.shots) for row in rows] == [('model', 1), ('copy', 1), ('model', 5)]
    assert to_markdown(rows).splitlines() == [
        '| method | shots | fold 0 | fold 1 | mIoU (std) | FB-IoU |',
        '| --- | ---: | ---: | ---: | ---: | ---: |',
        '| model | 1 | 10.0 | 30.0 | 20.0 (10.0) | 30.0 |',
        '| copy | 1 | 5.0 | - | 5.0 (0.0) | 6.0 |',
        '| model | 5 | 50.0 | - | 50.0 (0.0) | 60.0 |',
    ]


def test_fold_twice() -> None:
    with pytest.raises(ValueError, match='twice'):
        make_rows(paper_scores() * 2)
