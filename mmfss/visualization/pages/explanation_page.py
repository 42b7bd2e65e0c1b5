"""Self-contained web page of an explanation run: figures, and every episode with its maps."""
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, Union

import numpy as np

from mmfss.utils.files import atomic_path
from .episode import episode_entry
from .file import open_page, write_head, write_item, write_tail

_SUMMARY_KEYS = ('config', 'checkpoint', 'episodes', 'num_episodes', 'num_images', 'num_explained', 'mean_iou',
                 'region', 'device', 'prediction_seconds', 'metrics', 'scores', 'seconds', 'contributions')

MAX_BYTES = 32 * 2**20
"""Largest size of a page, about what browsers open and mail servers accept."""

Record = Mapping[str, Any]


def write_explanation_page(out_dir: Union[str, Path],
                           results: Mapping[str, Any],
                           records: Iterable[Record],
                           title: str = 'Explained episodes',
                           max_episodes: Optional[int] = 200,
                           items: str = 'episodes',
                           max_bytes: int = MAX_BYTES) -> Path:
    """Write ``index.html``: it needs no network and no other file, and may be mailed or archived.

    It shows the table of the explainers, sortable, their scores with intervals and their mean curves; and a browser of
    the episodes: the query with prediction, truth and explained region, the supports with the heat map of each
    explainer, the shares of layers and supports, scores, curves and seconds. Episodes are written one by one, as data
    that the browser reads when they are looked at.

    Args:
        out_dir (str | Path): Folder of the run, with ``episodes/<index, 6 digits>/attributions.npz``.
        results (dict): What ``results.json`` holds: ``metrics`` (by name: ``higher_is_better``), ``scores`` (by
            explainer and metric: ``value``, ``interval``, ``num_nan``), ``seconds`` by explainer, and what describes
            the run. Whatever is missing is left out.
        records (Iterable[dict]): Records of the episodes, see :func:`~.page_episode.episode_entry`.
        title (str): Title of the page.
        max_episodes (int, optional): Episodes on the page, the first ones; the table and the curves are about all. None
            for all. Episodes whose record says that their arrays were not stored are left out.
        items (str): What is explained: ``'episodes'``, or ``'images'`` (each its own support). Also the folder's name.
        max_bytes (int): Size of the page at which no further episode is written; the first always is.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: If an episode has no ``attributions.npz``.
    """
    out_dir = Path(out_dir)
    page = out_dir / 'index.html'
    curves = MeanCurves()
    with atomic_path(page) as temporary, open_page(temporary) as file:
        write_head(file, title, 'overview_episodes.html', items.capitalize())
        written = 0
        for record in records:
            curves.add(record)
            is_stored = 'attributions.npz' in record.get('files', ['attributions.npz'])
            is_full = written and file.tell() >= max_bytes
            if is_stored and not is_full and (max_episodes is None or written < max_episodes):
                write_item(file, episode_entry(record, out_dir / items / f'{record["index"]:06d}'))
                written += 1
        summary = {key: results[key] for key in _SUMMARY_KEYS if key in results}
        write_tail(file, 'page.js', summary=dict(summary, items=items, curves=curves.means()))
    return page


class MeanCurves:
    """Average curves over episodes, by metric and explainer; memory does not grow with the episodes."""

    def __init__(self) -> None:
        self.sums: dict[str, dict[str, np.ndarray]] = {}

    def add(self, record: Record) -> None:
        """Add the curves of one episode; points without a value are ignored."""
        for metric, explainers in (record.get('scores') or {}).items():
            for explainer, score in explainers.items():
                if score.get('curve'):
                    values = np.array(score['curve'], dtype=float)
                    known = np.isfinite(values)
                    sums = self.sums.setdefault(metric, {})
                    sums[explainer] = _padded_sum(sums.get(explainer), np.stack([np.where(known, values, 0), known]))

    def means(self) -> dict[str, dict[str, list[Optional[float]]]]:
        """Return the mean curves by metric and explainer; None where no episode has a value."""
        return {metric: {name: [round(total / count, 4) if count else None for total, count in sums.T.tolist()]
                         for name, sums in explainers.items()} for metric, explainers in self.sums.items()}


def _padded_sum(old: Optional[np.ndarray], new: np.ndarray) -> np.ndarray:
    """Add (2, n) and (2, m); the shorter ends earlier."""
    if old is None:
        return new
    longer, shorter = (old, new) if old.shape[1] >= new.shape[1] else (new, old)
    longer = longer.copy()
    longer[:, :shorter.shape[1]] += shorter
    return longer
