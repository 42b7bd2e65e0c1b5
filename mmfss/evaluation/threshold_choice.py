"""Choice of a model's threshold on validation episodes, never on the tested classes.

Fold f takes the threshold with the largest mean validation mIoU of the models of the *other* folds, each on the classes
that it holds out. See ``docs/en/choosing_on_validation.md``.
"""
import json
import re
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from mmengine.config import Config

from mmfss.utils.config_options import ConfigError, accepted_arguments, find_class
from mmfss.utils.files import dump_json
from mmfss.utils.versions import versions
from .threshold_curve import DEFAULT, best_threshold

PROCEDURE = ('Fold f takes the threshold with the largest mean mIoU over the other folds: of the model of each, on the '
             'validation episodes of the classes that it holds out.')


def model_key(config: Path) -> str:
    """Return the name of the model that a config belongs to: ``<folder>/<name>`` without fold and number of shots.

    Args:
        config (Path): The config file.

    Returns:
        str: e.g. ``'dcama/swinb_coco20i'`` for ``configs/dcama/swinb_coco20i_fold1_5shot.py``.
    """
    return f'{Path(config).absolute().parent.name}/' + re.sub(r'_fold\d+|_\d+shot', '', Path(config).stem)


def validates_on_tested_classes(cfg: Config) -> bool:
    """Check whether the validation episodes of a config show the classes that it tests.

    Args:
        cfg (Config): A config with episodic ``val_dataloader`` and ``test_dataloader``; no data is read.

    Returns:
        bool: True for the published protocols of PASCAL-5i and COCO-20i. False with ``classes_of='train'``, with other
        ``class_ids``, and where the split of a dataset has classes of its own (FSS-1000).
    """
    val, test = ((cfg.get(f'{split}_dataloader') or {}).get('dataset') or {} for split in ('val', 'test'))
    if not val or val.get('type') != test.get('type') or val.get('classes_of') == 'train':
        return False
    if val.get('class_ids') is not None and test.get('class_ids') is not None:
        return not set(val['class_ids']).isdisjoint(test['class_ids'])
    if getattr(find_class(val['type']), 'SPLITS_SHARE_CLASSES', True):
        return None in (val.get('fold'), test.get('fold')) or val.get('fold') == test.get('fold')
    return val.get('split') == test.get('split', 'test')


def fold_curve(config: Path, checkpoint: Optional[Path], result: Mapping[str, Any],
               episodes: Mapping[str, Any]) -> dict:
    """Return the record of a pass.

    Args:
        config (Path): The config file.
        checkpoint (Path): The checkpoint.
        result (Mapping): Result of :class:`ThresholdLoop`.
        episodes (Mapping): Metainfo of its data.

    Returns:
        dict: ``config``, ``checkpoint``, ``fold``, ``classes`` (names), ``episodes``, ``thresholds`` and ``mIoU``.
    """
    names = [episodes['classes'][class_id] for class_id in episodes['fold_class_ids']]
    about = {key: value for key, value in episodes.items() if key not in ('classes', 'fold_class_ids')}
    return dict(config=str(config), checkpoint=checkpoint and str(checkpoint), fold=episodes['fold'], classes=names,
                episodes=about, thresholds=list(result['thresholds']), mIoU=list(result['mIoU']))


def check_choosable(configs: Sequence[Path], cfgs: Sequence[Config]) -> None:
    """Check that thresholds can be chosen without the tested classes, before any work is done.

    Args:
        configs (Sequence[Path]): Config files of one model: of several folds, or one whose validation episodes show no
            tested class.
        cfgs (Sequence[Config]): The configs.

    Raises:
        ConfigError: If they cannot.
    """
    if len(cfgs) == 1:
        if validates_on_tested_classes(*cfgs):
            raise ConfigError(
                f'The validation episodes of "{configs[0]}" show the classes of its test: a threshold chosen on them '
                'may serve other folds only. Name the configs of all folds (..._fold{0..3}.py), validate on the '
                "training classes (val_dataloader.dataset.classes_of='train'), or write the curve alone "
                '(--curve-only).')
        return
    folds = [cfg.val_dataloader.dataset.get('fold', 0) for cfg in cfgs]
    if len(set(folds)) < len(folds) or None in folds:
        raise ConfigError(f'A fold takes the threshold chosen on the other folds: name one config of each fold of a '
                          f'model, got the folds {folds} ({", ".join(map(str, configs))}).')


def choose(curves: Sequence[Mapping[str, Any]]) -> dict[str, dict]:
    """Choose for each fold on the curves of all others; for a single curve on itself.

    Args:
        curves (Sequence[Mapping]): Results of :func:`fold_curve`, of one model, one per fold, whose configs
            :func:`check_choosable` has accepted.

    Returns:
        dict[str, dict]: By fold: ``threshold``; ``chosen_on_folds`` and ``chosen_on_classes``; ``mIoU`` and
        ``mIoU_at_0.5``, the mean over the other folds; ``source``, in words.

    Raises:
        ConfigError: If a fold holds out a class that another holds out too.
    """
    if len(curves) == 1:
        return {str(curves[0]['fold']): _choice(curves)}
    choices = {}
    for own in curves:
        others = [curve for curve in curves if curve is not own]
        shared = sorted(set(own['classes']) & {name for curve in others for name in curve['classes']})
        if shared:
            raise ConfigError(f'Fold {own["fold"]} tests {", ".join(shared[:3])}, and another fold validates on it: '
                              f'its threshold cannot be chosen there ({own["config"]}).')
        choices[str(own['fold'])] = _choice(others)
    return choices


def _choice(curves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    thresholds = curves[0]['thresholds']
    if any(curve['thresholds'] != thresholds for curve in curves):
        raise ConfigError('The curves of the folds have different thresholds: compute them with one --step.')
    # Largest mean, and where it was measured
    mious = [curve['mIoU'] for curve in curves]
    best = best_threshold(thresholds, mious)
    folds = [curve['fold'] for curve in curves]
    held_out = [curve['episodes']['classes_of'] != 'train' for curve in curves]
    classes = 'held-out classes' if all(held_out) else 'training classes'
    return {
        'threshold': thresholds[best],
        'source': f'chosen on validation episodes of fold {", ".join(map(str, folds))} ({classes})',
        'chosen_on_folds': folds,
        'chosen_on_classes': [name for curve in curves for name in curve['classes']],
        'mIoU': _mean(mious, best),
        f'mIoU_at_{DEFAULT}': _mean(mious, thresholds.index(DEFAULT)),
    }


def _mean(curves: Sequence[Sequence[float]], place: int) -> float:
    return sum(curve[place] for curve in curves) / len(curves)


def save_choices(models: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write the file that ``--threshold-from`` of the test tools reads.

    Args:
        models (Mapping): By :func:`model_key`: ``curves`` (of :func:`fold_curve`) and ``choices`` (by fold; empty for
            curves alone).
        path (Path): The JSON file.
    """
    dump_json(dict(procedure=PROCEDURE, models=models, versions=versions()), path)


def load_choice(path: Path, cfg: Config, config: Path) -> dict[str, Any]:
    """Find the choice for a config in a file of :func:`save_choices`.

    Args:
        path (Path): The file.
        cfg (Config): The config, whose ``test_dataloader`` names the fold.
        config (Path): Its file, whose name names the model.

    Returns:
        dict: The choice, with ``file``.

    Raises:
        ConfigError: If the file is no such file, or has no choice for this model and fold.
    """
    try:
        models = json.loads(Path(path).read_text(encoding='utf-8'))['models']
        choices = {name: model['choices'] for name, model in models.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f'--threshold-from {path}: not a file of tools/analysis_tools/choose_threshold.py '
                          f'({type(error).__name__}: {error}).') from error
    key = model_key(config)
    # A copy of a config may lie in another folder.
    alike = [name for name in choices if name.split('/')[-1] == key.split('/')[-1]]
    name = key if key in choices else alike[0] if len(alike) == 1 else None
    if name is None:
        raise ConfigError(f'--threshold-from {path} has no threshold of "{key}" ({config}), but of: '
                          f'{", ".join(choices) or "no model"}.')
    # Of the tested fold
    fold = cfg.test_dataloader.dataset.get('fold', 0)
    choice = choices[name].get(str(fold))
    if choice is None or not isinstance(choice.get('threshold'), float):
        raise ConfigError(f'--threshold-from {path} has no threshold of "{name}" for fold {fold}, but for the folds: '
                          f'{", ".join(choices[name]) or "none (curves alone)"}.')
    return dict(choice, file=str(path))


def apply_choice(cfg: Config, choice: Optional[Mapping[str, Any]]) -> Optional[dict[str, Any]]:
    """Set the threshold of a config, and return its value and origin.

    Args:
        cfg (Config): The config, changed in place.
        choice (Mapping, optional): A choice for it; None leaves its threshold as it is.

    Returns:
        dict, optional: For the results: ``value``, ``source``, and of a choice what else it says; None if the model has
        no threshold.
    """
    if choice is not None:
        cfg.model.threshold = choice['threshold']
        return dict(value=choice['threshold'], **{key: value for key, value in choice.items() if key != 'threshold'})
    model = cfg.get('model') or {}
    accepted = accepted_arguments(find_class(model['type'])) if find_class(model.get('type')) is not None else set()
    if accepted is None or 'threshold' not in accepted:
        return None
    return dict(value=model.get('threshold', DEFAULT), source='config' if 'threshold' in model else 'default')


def check_not_tested(record: Optional[Mapping[str, Any]], episodes: Mapping[str, Any]) -> None:
    """Check that a threshold was not chosen on the tested classes.

    Args:
        record (Mapping, optional): Result of :func:`apply_choice`.
        episodes (Mapping): Metainfo of the tested data.

    Raises:
        ConfigError: If it was.
    """
    chosen_on = set((record or {}).get('chosen_on_classes', ()))
    tested = [episodes['classes'][class_id] for class_id in episodes.get('fold_class_ids', ())] if chosen_on else []
    shared = [name for name in tested if name in chosen_on]
    if shared:
        raise ConfigError(f'The threshold {record["value"]:g} ({record["source"]}) was chosen on classes that are '
                          f'tested here: {", ".join(shared[:5])}. Choose it on the other folds '
                          '(tools/analysis_tools/choose_threshold.py).')
