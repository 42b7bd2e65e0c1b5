"""Charts of the episodes of a test."""
import io
from typing import Any, Protocol, Sequence

import numpy as np
from PIL import Image


class Scored(Protocol):
    """What is drawn of an episode.

    Attributes:
        class_name (str): The class.
        iou (float): 0 to 1.
        object_size (float): Share of the picture, 0 to 1.
    """
    class_name: str
    iou: float
    object_size: float


def draw_iou_by_class(rows: Sequence[Scored]) -> np.ndarray:
    """Draw the spread of the IoU in each class, the worst class first: quartiles as a box, the mean as a dot.

    Args:
        rows (Sequence): Episodes.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row.class_name, []).append(100 * row.iou)
    names = sorted(values, key=lambda name: np.mean(values[name]))
    figure, axes = _figure((8, 1.2 + 0.28 * len(names)))
    axes.boxplot([values[name] for name in names], orientation='horizontal', showmeans=True, whis=(0, 100), widths=0.6,
                 meanprops=dict(marker='o', markerfacecolor='#D55E00', markeredgecolor='none'),
                 medianprops=dict(color='#0072B2'))
    axes.set_yticks(range(1, len(names) + 1), [f'{name} ({len(values[name])})' for name in names])
    axes.invert_yaxis()
    axes.set_xlim(-2, 102)
    axes.set_xlabel('IoU (per cent) of each episode; quartiles, and mean as a dot')
    return _draw(figure)


def draw_iou_by_size(rows: Sequence[Scored], bins: int = 6) -> np.ndarray:
    """Draw the IoU of each episode over the size of its object, with the mean of equally filled bins.

    Args:
        rows (Sequence): Episodes.
        bins (int): Number of bins.

    Returns:
        np.ndarray: (H, W, 3) uint8 RGB.
    """
    sizes = np.maximum([100 * row.object_size for row in rows], 0.01)
    scores = np.array([100 * row.iou for row in rows])
    order = np.argsort(sizes, kind='stable')
    figure, axes = _figure((8, 4))
    axes.scatter(sizes, scores, s=8, alpha=0.4, color='#56B4E9', edgecolors='none')
    groups = [group for group in np.array_split(order, min(bins, len(rows))) if len(group)]
    axes.plot([sizes[group].mean() for group in groups], [scores[group].mean() for group in groups], 'o-',
              color='#D55E00', label='mean of equally many episodes')
    axes.set_xscale('log')
    axes.set_ylim(-2, 102)
    axes.set_xlabel('object, per cent of the picture')
    axes.set_ylabel('IoU (per cent)')
    axes.legend()
    return _draw(figure)


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    # Without pyplot, which keeps figures in a list of the process.
    from matplotlib.figure import Figure
    figure = Figure(size, layout='constrained')
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _draw(figure: Any) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=110)
    with Image.open(buffer) as picture:
        return np.asarray(picture.convert('RGB'))
