"""Files of predictions, and the record of a job."""
import hashlib
import json
import logging
import os
import time
from itertools import count
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from mmfss.utils.files import atomic_path, dump_json, read_text
from mmfss.utils.names import file_name, visible
from mmfss.visualization import class_palette, overlay_mask


class PredictionWriter:
    """Write ``masks/<name>.png`` and ``overlays/<name>.png`` of each query, and ``explanations/<name>.png``.

    The name is the stem of the query's file, or ``query_<number>`` of an array. A checksum of the file's path (of an
    array's content) is kept in the mask's PNG, so that the same query has the same name in every call, and another
    query of that name, also of a later call, gets a number: ``a.png``, ``a_2.png``.

    Args:
        out_dir (str | Path): Folder of the two folders.
    """

    OWNER = 'mmfss_query'

    def __init__(self, out_dir: Union[str, Path]) -> None:
        self.out_dir = Path(out_dir)
        self.owners: dict[str, Optional[str]] = {}

    def __call__(self, query: Union[str, int], image: np.ndarray, mask: np.ndarray, num_classes: int) -> dict[str, str]:
        """Write one prediction.

        Args:
            query (str | int): Path or number of the query.
            image (np.ndarray): The query, (H, W, 3) uint8 BGR.
            mask (np.ndarray): The prediction, (H, W) uint8, labels 0..N; they are the indices of the palette PNG.
            num_classes (int): N.

        Returns:
            dict[str, str]: ``mask_path`` and ``overlay_path``.
        """
        owner = _owner(query, image)
        name = self._name(query, owner)
        paths = dict(mask_path=self.out_dir / 'masks' / name, overlay_path=self.out_dir / 'overlays' / name)
        indexed = Image.fromarray(mask)
        indexed.putpalette(class_palette(num_classes).flatten().tolist())
        overlay = Image.fromarray(overlay_mask(np.ascontiguousarray(image[..., ::-1]), mask))
        remark = PngInfo()
        remark.add_text(self.OWNER, owner)
        for path, picture in zip(paths.values(), (indexed, overlay)):
            with atomic_path(path) as temporary:
                picture.save(temporary, pnginfo=remark)
        return {key: str(path) for key, path in paths.items()}

    def explanation(self, panel: np.ndarray, mask_path: Union[str, Path]) -> str:
        """Write ``explanations/<name>.png``.

        Args:
            panel (np.ndarray): The picture, (H, W, 3) uint8 RGB.
            mask_path (str | Path): ``mask_path`` of the prediction that it explains, whose name it gets.

        Returns:
            str: The file.
        """
        path = self.out_dir / 'explanations' / Path(mask_path).name
        with atomic_path(path) as temporary:
            Image.fromarray(panel).save(temporary)
        return str(path)

    def _name(self, query: Union[str, int], owner: str) -> str:
        """Find the first name that is free or belongs to the query."""
        stem = f'query_{query:05d}' if isinstance(query, int) else Path(query).stem
        candidates = (file_name(stem if number == 1 else f'{stem}_{number}', '.png') for number in count(1))
        name = next(candidate for candidate in candidates if self._owner_of(candidate) in (None, owner))
        self.owners[name] = owner
        return name

    def _owner_of(self, name: str) -> Optional[str]:
        """Return the owner of a mask: None if there is no file, an empty text if this class did not write it."""
        if name not in self.owners:
            path = self.out_dir / 'masks' / name
            try:
                with Image.open(path) as mask:
                    self.owners[name] = str(mask.info.get(self.OWNER, ''))
            except FileNotFoundError:
                self.owners[name] = None
            except (UnidentifiedImageError, OSError, ValueError):
                self.owners[name] = ''
        return self.owners[name]


def _owner(query: Union[str, int], image: np.ndarray) -> str:
    """Compute the checksum that identifies a query."""
    if isinstance(query, int):
        content = f'{query} {image.shape}'.encode() + image.tobytes()
    else:
        content = os.fsencode(os.path.abspath(query))
    return hashlib.sha256(content).hexdigest()[:16]


class FailedQueries(ValueError):
    """Error: some queries of a job could not be segmented; all others were.

    Args:
        failures (Sequence[dict]): ``query`` and ``error`` of each.
        total (int): Number of queries.
        record (Path, optional): The file that lists them all.

    Attributes:
        failures (list[dict]): As given.
        results (list[dict]): The other results, if the inferencer was called rather than iterated over.
    """

    LISTED = 20

    def __init__(self, failures: Sequence[dict[str, Any]], total: int, record: Optional[Path] = None) -> None:
        lines = [f'  {visible(str(failure["query"]))}: {failure["error"]}' for failure in failures[:self.LISTED]]
        if len(failures) > self.LISTED:
            lines.append(f'  and {len(failures) - self.LISTED} more')
        where = f' (see {record})' if record else ''
        super().__init__('\n'.join([f'{len(failures)} of {total} queries could not be segmented; the results of the '
                                    f'others are complete{where}:', *lines]))
        self.failures = list(failures)
        self.results: list[dict[str, Any]] = []


class MissingQueries(FailedQueries, FileNotFoundError):
    """Error: all queries that failed are files that do not exist."""


class JobRecord:
    """Record the outcome of each query of a job in ``results.json`` while it runs.

    The file is a list of dicts, of each query its result without arrays, or ``query`` and ``error``. Entries of former
    jobs in the folder stay, unless this job has the same query or writes the same mask. It is replaced as a whole, at
    most once a second, and at the end, also if the job is interrupted.

    Args:
        out_dir (str | Path, optional): Folder of the file; without one nothing is written.

    Raises:
        ValueError: If the folder holds a ``results.json`` of something else.
    """

    ARRAYS = ('mask', 'logits', 'network_logits', 'attributions')

    def __init__(self, out_dir: Optional[Union[str, Path]] = None) -> None:
        self.path = None if out_dir is None else Path(out_dir) / 'results.json'
        self.entries: list[dict[str, Any]] = []
        self.errors: list[Exception] = []
        self.former = self._read()
        self._wait_until = time.monotonic() + 1

    def _read(self) -> list[dict[str, Any]]:
        if self.path is None or not self.path.is_file():
            return []
        try:
            entries = json.loads(read_text(self.path))
        except ValueError:
            entries = None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and 'query' in entry for entry in entries):
            raise ValueError(f'"{self.path}" is there already, but does not list predictions. Choose another folder, '
                             'or move the file.')
        return entries

    def add(self, result: dict[str, Any]) -> None:
        """Record a result whose files are written."""
        self._note({key: value for key, value in result.items() if key not in self.ARRAYS})

    def fail(self, query: Union[str, int], error: Exception) -> None:
        """Record a query that cannot be read."""
        print_log(f'Not segmented: {visible(str(query))}: {error}', logger='current', level=logging.ERROR)
        self.errors.append(error)
        self._note(dict(query=query, error=str(error)))

    def _note(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        if time.monotonic() >= self._wait_until:
            self.save()

    def save(self) -> None:
        """Write the file."""
        if self.path is None or not self.entries:
            return
        start = time.monotonic()
        # An array is known by its mask only.
        queries = {entry['query'] for entry in self.entries if isinstance(entry['query'], str)}
        masks = {entry['mask_path'] for entry in self.entries if 'mask_path' in entry}
        kept = [entry for entry in self.former if entry['query'] not in queries and entry.get('mask_path') not in masks
                and (isinstance(entry['query'], str) or 'mask_path' in entry)]
        dump_json([*kept, *self.entries], self.path)
        # Writing a long list takes a small part of the time.
        end = time.monotonic()
        self._wait_until = end + max(1, 20 * (end - start))

    def raise_failures(self) -> None:
        """Raise :class:`FailedQueries` if there are any; if the job was one query, the error itself."""
        if self.errors and len(self.entries) == 1:
            raise self.errors[0]
        if self.errors:
            failures = [entry for entry in self.entries if 'error' in entry]
            missing = all(isinstance(error, FileNotFoundError) for error in self.errors)
            raise (MissingQueries if missing else FailedQueries)(failures, len(self.entries), self.path)
