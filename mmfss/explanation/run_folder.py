"""Folder of an explanation run: its files, completed records and settings."""
import json
from pathlib import Path
from typing import Any, Iterator, Mapping, Optional, Union

import numpy as np
from PIL import Image

from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, check_writable, dump_json

Arrays = dict[str, np.ndarray]
Record = dict[str, Any]


class ExplanationFolder:
    """Manage the folder of an explanation run, which is filled episode by episode and can be resumed.

    .. code-block:: none

        <root>
        ├── run.json                    the settings on which every record depends, and versions
        ├── episodes/<index, 6 digits>
        │   ├── attributions.npz        see :class:`ExplanationLoop`; of all episodes, or the first ones only
        │   ├── panel*.png              the first episodes only
        │   └── record.json             scores, times; written last: an episode with a record is done
        └── results.json, results.csv, table.md, index.html

    Each file appears whole or not at all. Processes write different episodes.

    Args:
        root (str | Path): The folder.
        items (str): What is explained, in plural, as the folder below the root is called.
        arrays (str): Name of an episode's file of arrays.
    """

    def __init__(self, root: Union[str, Path], items: str = 'episodes', arrays: str = 'attributions.npz') -> None:
        self.root, self.items, self.arrays = Path(root), items, arrays

    @property
    def run_file(self) -> Path:
        """``run.json``."""
        return self.root / 'run.json'

    def episode_dir(self, index: int) -> Path:
        """Return the folder of an episode."""
        return self.root / self.items / f'{index:06d}'

    def check_writable(self) -> None:
        """Make the folder, and check that files can be written to it.

        Raises:
            OSError: If that is not possible.
        """
        check_writable(self.root, 'folder', '--out (test_cfg.out_dir)')

    def begin(self, settings: Mapping[str, Any], overwrite: bool = False, **remarks: Any) -> None:
        """Start a run, or resume the existing one.

        Args:
            settings (Mapping): What every record depends on: plain values.
            overwrite (bool): Remove the records of a run with other settings, and of this one.
            **remarks: Further entries of ``run.json``, which are not compared.

        Raises:
            ConfigError: If the folder holds a run with other settings; says which.
            OSError: If the folder cannot be written to.
        """
        self.check_writable()
        if overwrite:
            self._clear()
        elif self.run_file.is_file():
            self._compare(settings)
            return
        elif next(self._records(), None) is not None:
            raise ConfigError(f'"{self.root}" holds explained {self.items}, but no run.json that says of what. '
                              'Choose another folder with --out (test_cfg.out_dir), or start again with --overwrite.')
        dump_json(dict(settings=settings, **remarks), self.run_file)

    def is_done(self, index: int, panel: bool = False, arrays: bool = False) -> bool:
        """Check whether an episode has a whole record, the files that it names and, if requested, panels and arrays."""
        folder = self.episode_dir(index)
        try:
            record = self.read(index)
        except (FileNotFoundError, ValueError):
            return False
        if not all((folder / name).is_file() for name in record['files']):
            return False
        if arrays and self.arrays not in record['files']:
            return False
        return not panel or record['empty'] or any(name.startswith('panel') for name in record['files'])

    def read(self, index: int) -> dict[str, Any]:
        """Load the record of an episode.

        Raises:
            FileNotFoundError: If there is none, e.g. because another process wrote it to a folder of its own machine.
            ValueError: If it is damaged.
        """
        path = self.episode_dir(index) / 'record.json'
        if not path.is_file():
            raise FileNotFoundError(f'Episode {index} has no record ("{path}"): all processes must see the same '
                                    'folder.')
        try:
            record = json.loads(path.read_text(encoding='utf-8'))
        except ValueError as error:
            raise ValueError(f'The record "{path}" is damaged ({error}). Remove it; the same command makes it again.'
                             ) from error
        if not isinstance(record, dict) or 'files' not in record:
            raise ValueError(f'The record "{path}" is damaged. Remove it; the same command makes it again.')
        return record

    def write(self, record: dict[str, Any], arrays: Optional[Mapping[str, np.ndarray]],
              panels: Optional[Mapping[str, np.ndarray]] = None) -> None:
        """Write the files of an episode, the record last.

        Args:
            record (dict): ``index``, and what is known of the episode; ``files`` is added.
            arrays (Mapping, optional): Entries of ``attributions.npz``; None to leave the file out.
            panels (Mapping, optional): Pictures (H, W, 3), uint8 RGB, by file name (``panel*.png``).
        """
        folder, files = self.episode_dir(record['index']), []
        if arrays is not None:
            with atomic_path(folder / self.arrays) as path:
                np.savez_compressed(path, **arrays)
            files.append(self.arrays)
        for name, panel in (panels or {}).items():
            with atomic_path(folder / name) as path:
                Image.fromarray(panel).save(path)
            files.append(name)
        dump_json(dict(record, files=files), folder / 'record.json')

    def _compare(self, settings: Mapping[str, Any]) -> None:
        try:
            known = json.loads(self.run_file.read_text(encoding='utf-8'))['settings']
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f'"{self.run_file}" does not describe an explanation run. Choose another '
                              'folder with --out (test_cfg.out_dir), or start again with --overwrite.') from error
        changes = differences(known, json.loads(json.dumps(settings)))
        if changes:
            raise ConfigError(f'"{self.root}" holds a run with other settings: {"; ".join(changes)}. Choose another '
                              'folder with --out (test_cfg.out_dir), or start again with --overwrite.')

    def _records(self) -> Iterator[Path]:
        return self.root.glob(f'{self.items}/[0-9]*/record.json')

    def _clear(self) -> None:
        """Remove the files of a run, records first, and nothing else."""
        for record in list(self._records()):
            for path in (record, *record.parent.glob('panel*.png'), record.parent / self.arrays):
                path.unlink(missing_ok=True)
        for name in ('run.json', 'results.json', 'results.csv', 'table.md', 'index.html'):
            (self.root / name).unlink(missing_ok=True)


def differences(old: Any, new: Any, path: str = '') -> list[str]:
    """List the differences between two trees of dicts with plain leaves.

    Args:
        old (Any): The former values.
        new (Any): The present values.
        path (str): Dotted path of the two.

    Returns:
        list[str]: One entry per difference, e.g. ``'dataset.num_shots was 1, is 5'``.
    """
    if old == new:
        return []
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [f'{path} was {_brief(old)}, is {_brief(new)}']
    found = []
    # Dicts: key by key
    for key in [*old, *(key for key in new if key not in old)]:
        place = f'{path}.{key}' if path else key
        if key not in new:
            found.append(f'{place} was {_brief(old[key])}, is not set')
        elif key not in old:
            found.append(f'{place} was not set, is {_brief(new[key])}')
        else:
            found.extend(differences(old[key], new[key], place))
    return found


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f'{text[:57]}...'
