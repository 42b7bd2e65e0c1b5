"""Read a config file and apply what a command asks for."""
import re
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Union

from mmengine.config import Config

from .config_names import split_shots
from .config_options import accepted_arguments, check_options, find_class
from .errors import ConfigError
from .formatted_config import FormattedConfig
from .loaders import fill_loaders
from .names import did_you_mean


def load_config(path: Union[str, Path], options: Optional[Dict[str, Any]] = None) -> Config:
    """Read a config file and apply changes to it.

    A number of shots may be appended to the name of a file: ``swinb_coco20i_fold0_5shot.py`` without a file of that
    name is ``swinb_coco20i_fold0.py``, tested with 5 supports of each class. Likewise ``dinov3-s_coco20i_fold2.py``
    without a file of that name is ``dinov3-s_coco20i_fold0.py`` with ``fold=2`` in its datasets. The number of workers
    that data loaders leave open is filled in, see :func:`~mmfss.utils.loaders.fill_loaders`.

    Args:
        path (str | Path): The file.
        options (dict, optional): Dotted keys to values, as given to ``--cfg-options``.

    Returns:
        Config: The config.

    Raises:
        ConfigError: If there is no such file, it cannot be read, or a key does not exist.
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f'The config "{path}" is a folder: name a config file in it.')
    stem, shots = split_shots(path.stem)
    if path.is_file() or shots is None:
        cfg = _read_fold(path)
    else:
        cfg = _read_fold(path.with_stem(stem), path)
        set_episodes(cfg, num_shots=shots)
    if options:
        check_options(cfg, options)
        cfg.merge_from_dict(options)
    fill_loaders(cfg)
    return cfg


def _read_fold(path: Path, asked: Optional[Path] = None) -> Config:
    """Read a file, or the file of fold 0 for another fold; ``asked`` is the path in the error if there is neither."""
    first = path.with_stem(re.sub(r'_fold\d+', '_fold0', path.stem))
    if path.is_file() or not first.is_file():
        return _read_config(path if path.is_file() else asked or path)
    cfg, fold = _read_config(first), int(re.search(r'_fold(\d+)', path.stem)[1])
    datasets = [cfg[key].dataset for key in ('train_dataloader', 'val_dataloader', 'test_dataloader') if cfg.get(key)]
    if any(not 0 <= fold < dataset.get('num_folds', 4) or dataset.get('fold') != 0 for dataset in datasets):
        return _read_config(asked or path)
    for dataset in datasets:
        dataset.fold = fold
    return cfg


def _read_config(path: Path) -> Config:
    if not path.is_file():
        hint = did_you_mean(path.as_posix(), _nearby_configs(path), limit=4, cutoff=0.5)
        raise ConfigError(f'The config "{path}" does not exist.{hint}')
    try:
        return FormattedConfig.of(Config.fromfile(path))
    except Exception as error:  # A config is a program: anything can go wrong in it.
        raise ConfigError(f'The config "{path}" cannot be read: {type(error).__name__}: {error}') from error


def _nearby_configs(path: Path) -> Iterator[str]:
    # The nearest folder above the wrong path that exists; outside a folder of configs, nothing is searched.
    folder = next((parent for parent in path.parents if parent.is_dir()), Path('.'))
    if folder == Path('.'):
        folder = Path('configs')
    for found in folder.rglob('*.py'):
        if '_base_' not in found.parts:
            yield found.as_posix()


def set_seed(cfg: Config, seed: Optional[int]) -> None:
    """Set the seed of training.

    Args:
        cfg (Config): The config, changed in place.
        seed (int, optional): 0 to 2^32 - 1; None keeps the seed of the config.

    Raises:
        ConfigError: If it is another number.
    """
    if seed is None:
        return
    if not 0 <= seed < 2**32:
        raise ConfigError(f'--seed must be 0 or more, and less than 2^32, got {seed}.')
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)


def set_episodes(cfg: Config,
                 num_shots: Optional[int] = None,
                 num_ways: Optional[int] = None,
                 num_episodes: Optional[int] = None,
                 seed: Optional[int] = None) -> None:
    """Change the episodes that are tested. What is None stays as in the config.

    Args:
        cfg (Config): The config, changed in place.
        num_shots (int, optional): Supports of each class, 1 or more.
        num_ways (int, optional): Classes of an episode, 1 or more.
        num_episodes (int, optional): Number of episodes, 1 or more.
        seed (int, optional): Seed of the episodes, 0 or more.

    Raises:
        ConfigError: If the config tests no episodic dataset, or a number is too small.
    """
    changes = dict(num_shots=num_shots, num_ways=num_ways, num_episodes=num_episodes, seed=seed)
    dataset = _test_dataset(cfg)
    dataset_class = find_class(dataset.get('type'))
    known = accepted_arguments(dataset_class) if dataset_class is not None else None
    for key, value in changes.items():
        if value is None:
            continue
        if known is not None and key not in known:
            raise ConfigError(f'test_dataloader.dataset is a {dataset.get("type")}, which has no "{key}" to change.')
        if value < (0 if key == 'seed' else 1):
            raise ConfigError(f'{key} must be {0 if key == "seed" else 1} or more, got {value}.')
        # The dataset's own argument replaces that of its sampler
        dataset[key] = value
        if isinstance(dataset.get('sampler'), dict):
            dataset.sampler.pop(key, None)


def set_test_data(cfg: Config, path: Union[str, Path], options: Optional[Dict[str, Any]] = None) -> None:
    """Test a model on the data of another config file, through its own pipeline.

    Args:
        cfg (Config): The config of the model, changed in place.
        path (str | Path): A file with ``test_dataloader.dataset``, e.g. ``configs/_base_/datasets/lvis92i.py``.
        options (dict, optional): Dotted keys to values, as given to ``--cfg-options``; those of the test data are
            applied again.

    Raises:
        ConfigError: If the file has no such data, or the config tests none.
    """
    own, data = _test_dataset(cfg), _read_config(Path(path))
    dataset = (data.get('test_dataloader') or {}).get('dataset')
    if dataset is None:
        raise ConfigError(f'The config "{path}" has no data to test on: it needs test_dataloader.dataset.')
    if 'pipeline' not in own:
        raise ConfigError(f'The config "{cfg.filename}" tests no episodes: its test_dataloader.dataset is a '
                          f'{own.get("type")} without a pipeline.')
    cfg.test_dataloader.dataset = dict(dataset.to_dict(), pipeline=own['pipeline'])
    of_data = {key: value for key, value in (options or {}).items() if key.startswith('test_dataloader.dataset.')}
    check_options(cfg, of_data)
    cfg.merge_from_dict(of_data)


def _test_dataset(cfg: Config) -> Dict[str, Any]:
    loader = cfg.get('test_dataloader')
    if loader is None or cfg.get('test_cfg') is None or cfg.get('test_evaluator') is None:
        raise ConfigError(f'The config "{cfg.filename}" cannot be tested: it needs test_dataloader, test_cfg and '
                          'test_evaluator.')
    return loader['dataset']


def add_hook(cfg: Config, hook: Dict[str, Any]) -> None:
    """Add a hook to the config's own.

    Args:
        cfg (Config): The config, changed in place.
        hook (dict): The hook's config.
    """
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
