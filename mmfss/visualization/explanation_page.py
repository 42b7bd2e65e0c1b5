"""One self-contained web page to read an explanation run by: figures, and every episode with its maps."""
import html
import json
from pathlib import Path
from typing import Any, Iterable, Mapping, Optional, TextIO, Union

import numpy as np

from mmfss.utils.files import atomic_path
from .heatmap import heat_colours
from .overlay import class_palette
from .page_episode import episode_entry

_ASSETS = Path(__file__).parent / 'page'
# Nothing is fetched: the browser refuses whatever is not in the file.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_SUMMARY_KEYS = ('config', 'checkpoint', 'episodes', 'num_episodes', 'num_explained', 'mean_iou', 'region', 'device',
                 'prediction_seconds', 'metrics', 'scores', 'seconds', 'contributions')

Record = Mapping[str, Any]


def write_explanation_page(out_dir: Union[str, Path],
                           results: Mapping[str, Any],
                           records: Iterable[Record],
                           title: str = 'Explained episodes',
                           max_episodes: Optional[int] = 200) -> Path:
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
            for all.

    Returns:
        Path: The file.

    Raises:
        FileNotFoundError: If an episode has no ``attributions.npz``.
    """
    out_dir = Path(out_dir)
    page = out_dir / 'index.html'
    curves = MeanCurves()
    with atomic_path(page) as temporary, open(temporary, 'w', encoding='utf-8') as file:
        _write_head(file, title)
        for number, record in enumerate(records):
            curves.add(record)
            if max_episodes is None or number < max_episodes:
                _write_episode(file, episode_entry(record, out_dir / 'episodes' / f'{record["index"]:06d}'))
        summary = {key: results[key] for key in _SUMMARY_KEYS if key in results}
        _write_tail(file, dict(summary, curves=curves.means()))
    return page


class MeanCurves:
    """Mean curves over episodes, by metric and explainer; memory does not grow with the episodes."""

    def __init__(self) -> None:
        self.sums: dict[str, dict[str, np.ndarray]] = {}

    def add(self, record: Record) -> None:
        """Count the curves of one episode; points without a value count for nothing."""
        for metric, explainers in (record.get('scores') or {}).items():
            for explainer, score in explainers.items():
                if score.get('curve'):
                    values = np.array(score['curve'], dtype=float)
                    known = np.isfinite(values)
                    sums = self.sums.setdefault(metric, {})
                    sums[explainer] = _padded_sum(sums.get(explainer), np.stack([np.where(known, values, 0), known]))

    def means(self) -> dict[str, dict[str, list[Optional[float]]]]:
        """Curves by metric and explainer; None where no episode has a value."""
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


def _write_head(file: TextIO, title: str) -> None:
    text = (_ASSETS / 'page.html').read_text(encoding='utf-8')
    style = (_ASSETS / 'page.css').read_text(encoding='utf-8')
    values = dict(policy=html.escape(_POLICY, quote=False), style=style, title=html.escape(title))
    for name, value in values.items():
        text = text.replace(f'{{{{{name}}}}}', value)
    file.write(text)


def _write_episode(file: TextIO, entry: Mapping[str, Any]) -> None:
    brief = {key: entry[key] for key in ('index', 'classes', 'iou', 'empty')}
    file.write(f'<script type="application/json" class="episode" data-brief="{html.escape(json.dumps(brief))}">'
               f'{script_json(entry)}</script>\n')


def _write_tail(file: TextIO, summary: Mapping[str, Any]) -> None:
    colours = dict(
        sequential=heat_colours().ravel().tobytes().hex(),
        signed=heat_colours(signed=True).ravel().tobytes().hex(),
        classes=[f'rgb({r},{g},{b})' for r, g, b in class_palette(20)[1:].tolist()])
    for name, value in (('summary', summary), ('colours', colours)):
        file.write(f'<script type="application/json" id="{name}-data">{script_json(value)}</script>\n')
    script = (_ASSETS / 'page.js').read_text(encoding='utf-8')
    file.write(f'<script>\n{script}</script>\n</body>\n</html>\n')


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(_without_nan(value), ensure_ascii=False, separators=(',', ':'), allow_nan=False)
    return text.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026')


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value if _is_plain(value) else str(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, bool))
