"""Models by name, from the package's own model index.

MMEngine resolves names only for the packages of a fixed table, so the index is read here: from the source tree, or from
the folder ``.mim`` of an installed wheel. Nothing here imports PyTorch.
"""
import fnmatch
import re
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

import yaml

from .config_names import split_shots
from .errors import UnknownModelError
from .names import did_you_mean
from .package_root import INDEX, get_package_root

_FOLD = re.compile(r'_fold(\d+)(?=_|$)')


def load_model_index(root: Optional[Path] = None) -> Dict[str, Dict[str, Any]]:
    """Read all metafiles that the model index imports.

    Args:
        root (Path, optional): Folder of the index; the index of the package by default.

    Returns:
        dict: Names to entries of the metafiles (``Config``, ``Metadata``, ``Results``, ...), in the order of the index.

    Raises:
        FileNotFoundError: If a metafile is missing.
        ValueError: If two models have one name.
    """
    root = get_package_root() if root is None else root
    models: Dict[str, Dict[str, Any]] = {}
    for metafile in _read_yaml(root / INDEX)['Import']:
        if not (root / metafile).is_file():
            raise FileNotFoundError(f'The model index "{root / INDEX}" imports "{metafile}", which does not exist.')
        for entry in _read_yaml(root / metafile).get('Models') or []:
            if entry['Name'] in models:
                raise ValueError(f'"{root / metafile}" names "{entry["Name"]}" a second time.')
            models[entry['Name']] = entry
    return models


def _read_yaml(path: Path) -> Dict[str, Any]:
    # In C, where PyYAML was built with it: ten times as fast.
    return yaml.load(path.read_text(encoding='utf-8'), getattr(yaml, 'CSafeLoader', yaml.SafeLoader))


def list_models(pattern: Optional[str] = None, root: Optional[Path] = None) -> List[str]:
    """List the names of the models, ``<method>_<config>``.

    Args:
        pattern (str, optional): Shell pattern, e.g. ``'dcama_*_fold0'``; a part of the name is enough.
        root (Path, optional): Folder of the index; the index of the package by default.

    Returns:
        list[str]: The names, sorted.
    """
    names = sorted(load_model_index(root))
    if pattern is None:
        return names
    return [name for name in names if fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, f'*{pattern}*')]


def resolve_model_name(name: str, models: Iterable[str]) -> Tuple[str, Optional[int]]:
    """Complete a model's name.

    Args:
        name (str): A name of :func:`list_models`. Without a fold, fold 0 is meant. A number of shots at the end
            (``..._5shot``) changes the tested episodes, not the model, and is left out of the full name.
        models (Iterable[str]): The names of the index.

    Returns:
        tuple[str, int | None]: The name in the index, and the fold of a name whose model the index lists for fold 0
        alone; else None.

    Raises:
        UnknownModelError: If there is no such model, a KeyError; the error gives names that come close.

    Example:
        >>> resolve_model_name('insid3_tiny_fold2_5shot', ['insid3_tiny_fold0'])
        ('insid3_tiny_fold0', 2)
    """
    known = set(models)
    # Something may follow the fold, such as a number of shots.
    without_fold = {_FOLD.sub('', other): other for other in known if '_fold0' in other}
    one_fold = without_fold.keys() - {_FOLD.sub('', other) for other in known if '_fold0' not in other}
    for wanted in (name, split_shots(name)[0]):
        if wanted in known or wanted in without_fold:
            return wanted if wanted in known else without_fold[wanted], None
        fold, model = _FOLD.search(wanted), _FOLD.sub('', wanted)
        if fold is not None and model in one_fold:
            return without_fold[model], int(fold[1])
    hint = did_you_mean(name, sorted(known), limit=4, cutoff=0.5) or ' "mmfss configs list" lists all.'
    raise UnknownModelError(f'There is no model "{name}".{hint}')


def get_config_path(name: str, root: Optional[Path] = None) -> Path:
    """Find the config file of a model.

    Args:
        name (str): The model's name, see :func:`resolve_model_name`.
        root (Path, optional): Folder of the index; the index of the package by default.

    Returns:
        Path: The file. Of a model that has a file for fold 0 alone, other folds are named like it, as
        :func:`load_config` reads them.
    """
    root = get_package_root() if root is None else root
    models = load_model_index(root)
    full, fold = resolve_model_name(name, models)
    path = root / models[full]['Config']
    return path if fold is None else path.with_stem(_FOLD.sub(f'_fold{fold}', path.stem))


def find_config(name_or_path: Union[str, Path]) -> Path:
    """Find a config file by the model's name; what ends in ``.py``, has a slash or exists is taken as a file.

    Args:
        name_or_path (str | Path): A model's name, or a file. Where there is no folder ``configs``, a path that begins
            so is that of the package's own config, so that documented commands work with an installed wheel.

    Returns:
        Path: The file. A number of shots at the end of the name is kept, as :func:`load_config` reads it.

    Raises:
        UnknownModelError: If there is no model of that name, a KeyError.
    """
    path = Path(name_or_path)
    if path.suffix == '.py' and path.parts[0] == 'configs' and not Path('configs').is_dir():
        return get_package_root() / path
    if path.suffix == '.py' or len(path.parts) > 1 or path.exists():  # No name has a slash.
        return path
    path = get_config_path(str(name_or_path))
    shots = split_shots(str(name_or_path))[1]
    if shots is not None and split_shots(path.stem)[1] is None:
        path = path.with_stem(f'{path.stem}_{shots}shot')
    return path
