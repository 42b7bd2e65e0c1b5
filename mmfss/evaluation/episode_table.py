"""Table of the episodes of a test: which went well, which did not."""
import csv
import io
from dataclasses import asdict, dataclass, fields
from math import isnan, nan
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Union

from mmfss.utils.files import read_text, write_text

_SEPARATOR = '|'


@dataclass(frozen=True)
class EpisodeRow:
    """Hold what a test found of one class of one episode.

    Attributes:
        index (int): Number of the episode.
        class_name (str): The class.
        query (str): Name of the query.
        supports (tuple[str, ...]): Names of the class's supports.
        iou (float): IoU of the class, 0 to 1; NaN if neither prediction nor truth has it.
        object_size (float): Share of the query's counted pixels that belong to the class, 0 to 1.
        ways (int): Classes of the episode.
        shots (int): Supports of each class.
        seed (int): Seed of the episodes.
        presence (float, optional): Presence score, if the test computed it.
    """
    index: int
    class_name: str
    query: str
    supports: tuple[str, ...]
    iou: float
    object_size: float
    ways: int
    shots: int
    seed: int
    presence: Optional[float] = None


COLUMNS = [field.name for field in fields(EpisodeRow)]


def episode_rows(entries: Sequence[Mapping[str, Any]], classes: Sequence[str], seed: int = 0) -> list[EpisodeRow]:
    """Arrange the counts of a test by episode and class.

    Args:
        entries (Sequence[Mapping]): Of :class:`EpisodicIoU`, one for each episode.
        classes (Sequence[str]): All class names of the benchmark.
        seed (int): Seed of the episodes.

    Returns:
        list[EpisodeRow]: By number of the episode.
    """
    rows = []
    for entry in entries:
        ways = len(entry['class_ids'])
        supports = entry['supports'] or [()] * ways
        for way, class_id in enumerate(entry['class_ids']):
            union = entry['union'][way]
            rows.append(EpisodeRow(
                entry['index'], classes[class_id], entry['query'], tuple(supports[way]),
                entry['intersection'][way] / union if union else nan,
                entry['object_pixels'][way] / max(entry['pixels'], 1), ways, len(supports[way]), seed,
                None if entry.get('presence') is None else float(entry['presence'][way])))
    return sorted(rows, key=lambda row: row.index)


def write_episodes(rows: Sequence[EpisodeRow], path: Union[str, Path]) -> None:
    """Write rows as CSV, atomically; supports are separated by ``|``, unknown values are empty.

    Args:
        rows (Sequence[EpisodeRow]): The rows.
        path (str | Path): The file to create or replace.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    for row in rows:
        values = {**asdict(row), 'supports': _SEPARATOR.join(row.supports)}
        for name, digits in (('iou', 6), ('object_size', 6), ('presence', 4)):
            value = values[name]
            values[name] = '' if value is None or isnan(value) else f'{value:.{digits}f}'
        writer.writerow(values)
    write_text(text.getvalue(), path)


def read_episodes(path: Union[str, Path]) -> list[EpisodeRow]:
    """Read a file of :func:`write_episodes`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file; the line is named.
    """
    reader = csv.DictReader(io.StringIO(read_text(path)))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f'{path} is no episodes.csv of tools/test.py: it has no column "{missing[0]}".')
    rows = []
    for number, line in enumerate(reader, start=2):
        try:
            rows.append(EpisodeRow(
                int(line['index']), line['class_name'], line['query'],
                tuple(name for name in line['supports'].split(_SEPARATOR) if name),
                float(line['iou']) if line['iou'] else nan, float(line['object_size']), int(line['ways']),
                int(line['shots']), int(line['seed']), float(line['presence']) if line['presence'] else None))
        except (TypeError, ValueError) as error:
            raise ValueError(f'{path}, line {number}: {error}') from error
    return rows


def worst_episodes(rows: Sequence[EpisodeRow], count: int) -> list[EpisodeRow]:
    """Return the rows of lowest IoU, the worst first; rows without IoU are left out."""
    return sorted((row for row in rows if not isnan(row.iou)), key=lambda row: row.iou)[:count]


def best_episodes(rows: Sequence[EpisodeRow], count: int) -> list[EpisodeRow]:
    """Return the rows of highest IoU, the best first; rows without IoU are left out."""
    return sorted((row for row in rows if not isnan(row.iou)), key=lambda row: -row.iou)[:count]
