"""Self-contained HTML pages, with inlined CSS, scripts and data."""
import html
import json
from pathlib import Path
from typing import Any, Mapping, Sequence, TextIO

import numpy as np

from ..heatmap import heat_colours
from ..overlay import class_palette

ASSETS = Path(__file__).parent / 'assets'
# Nothing is fetched: the browser refuses everything outside the file.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_SHARED_SCRIPTS = ('common.js', 'prototype_cards.js')


def open_page(path: Path) -> TextIO:
    """Open a page for writing; in data, a file name that is no text (bytes that are no UTF-8) is escaped."""
    return open(path, 'w', encoding='utf-8', errors='backslashreplace')


def write_head(file: TextIO, title: str, overview: str, items: str) -> None:
    """Write everything before the data.

    Args:
        file (TextIO): The page.
        title (str): Its title.
        overview (str): Name of the asset that stands before the list of items.
        items (str): What the items are called, in plural.
    """
    text = (ASSETS / 'page.html').read_text(encoding='utf-8')
    values = dict(overview=(ASSETS / overview).read_text(encoding='utf-8').rstrip(), items=html.escape(items),
                  policy=html.escape(_POLICY, quote=False), style=(ASSETS / 'page.css').read_text(encoding='utf-8'),
                  title=html.escape(title))
    for name, value in values.items():
        text = text.replace(f'{{{{{name}}}}}', value)
    file.write(text)


def write_item(file: TextIO, entry: Mapping[str, Any]) -> None:
    """Write the data of an item, which the browser reads when it is displayed.

    Args:
        file (TextIO): The page.
        entry (dict): ``index``, ``classes``, ``iou`` and ``empty`` are for the list.
    """
    brief = _without_nan({key: entry[key] for key in ('index', 'classes', 'iou', 'empty')})
    file.write(f'<script type="application/json" class="item" data-brief="{html.escape(json.dumps(brief))}">'
               f'{script_json(entry)}</script>\n')


def write_tail(file: TextIO, script: str, num_classes: int = 20, **data: Any) -> None:
    """Write data, script, and the end.

    Args:
        file (TextIO): The page.
        script (str): Name of the page's own script, which uses the shared ones.
        num_classes (int): Number of class colours.
        **data (Any): What the script reads as ``<name>-data``.
    """
    colours = dict(
        sequential=heat_colours().ravel().tobytes().hex(),
        signed=heat_colours(signed=True).ravel().tobytes().hex(),
        classes=[f'rgb({r},{g},{b})' for r, g, b in class_palette(num_classes)[1:].tolist()])
    for name, value in dict(data, colours=colours).items():
        file.write(f'<script type="application/json" id="{name}-data">{script_json(value)}</script>\n')
    file.write(f'<script>\n{join_scripts([*_SHARED_SCRIPTS, script])}</script>\n</body>\n</html>\n')


def join_scripts(names: Sequence[str]) -> str:
    """Join scripts in one scope."""
    texts = [(ASSETS / name).read_text(encoding='utf-8') for name in names]
    return "'use strict';\n(() => {\n" + '\n'.join(texts) + '})();\n'


def script_json(value: Any) -> str:
    """Encode JSON that cannot end its script element."""
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
