"""Tables of cross-validation over folds, as papers print them."""
from dataclasses import asdict, dataclass
from typing import Sequence

import numpy as np


@dataclass(frozen=True)
class FoldScore:
    """Hold the scores of one method on one fold, in per cent.

    Attributes:
        method (str): Name of the method.
        shots (int): K.
        fold (str): Name of the fold.
        miou (float): mIoU of the fold.
        fb_iou (float): FB-IoU of the fold.
    """
    method: str
    shots: int
    fold: str
    miou: float
    fb_iou: float


@dataclass(frozen=True)
class TableRow:
    """Hold one row: a method at one number of shots.

    Attributes:
        method (str): Name of the method.
        shots (int): K.
        folds (dict[str, float]): mIoU of each fold.
        mean (float): Mean of the folds' mIoU.
        std (float): Population standard deviation of the folds' mIoU (the number that papers print in brackets).
        fb_iou (float): Mean of the folds' FB-IoU.
    """
    method: str
    shots: int
    folds: dict[str, float]
    mean: float
    std: float
    fb_iou: float

    def to_dict(self) -> dict:
        """Return the attributes as a dict."""
        return asdict(self)


def make_rows(scores: Sequence[FoldScore]) -> list[TableRow]:
    """Gather scores into rows, in the order in which method and shots first appear.

    Args:
        scores (Sequence[FoldScore]): Scores of any methods, shots and folds.

    Returns:
        list[TableRow]: The rows.

    Raises:
        ValueError: If a fold occurs twice in a row.
    """
    groups: dict[tuple[int, str], list[FoldScore]] = {}
    for score in scores:
        groups.setdefault((score.shots, score.method), []).append(score)
    rows = []
    for (shots, method), group in groups.items():
        folds = {score.fold: score.miou for score in group}
        if len(folds) < len(group):
            raise ValueError(f'A fold occurs twice among {[score.fold for score in group]}.')
        mious = np.array(list(folds.values()))
        fb_iou = float(np.mean([score.fb_iou for score in group]))
        rows.append(TableRow(method, shots, folds, float(mious.mean()), float(mious.std()), fb_iou))
    return rows


def to_markdown(rows: Sequence[TableRow]) -> str:
    """Format rows as a Markdown table, figures with one decimal."""
    folds = list(dict.fromkeys(fold for row in rows for fold in row.folds))
    lines = [['method', 'shots', *folds, 'mIoU (std)', 'FB-IoU'], ['---'] + ['---:'] * (len(folds) + 3)]
    for row in rows:
        figures = [f'{row.folds[fold]:.1f}' if fold in row.folds else '-' for fold in folds]
        lines.append([row.method, str(row.shots), *figures, f'{row.mean:.1f} ({row.std:.1f})', f'{row.fb_iou:.1f}'])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'
