"""Tested and training classes of folds."""
import re
from typing import List, Mapping, Optional, Sequence, Tuple, Union

from mmfss.utils.names import few, normal_name, visible

SPLITS = ('train', 'val', 'test')


def make_folds(num_classes: int, num_folds: int, scheme: str = 'contiguous') -> List[Tuple[int, ...]]:
    """Divide classes into folds.

    Args:
        num_classes (int): Number of classes.
        num_folds (int): Number of folds.
        scheme (str): ``'contiguous'``: equal runs (PASCAL-5i; the first folds get one more where it does not divide);
            ``'modulo'``: fold f has the classes with ``class_id % num_folds == f`` (COCO-20i).

    Returns:
        list[tuple[int, ...]]: Ascending class ids of each fold.

    Raises:
        ValueError: If the scheme is unknown or there are more folds than classes.

    Example:
        >>> from mmfss.datasets import make_folds
        >>> make_folds(6, num_folds=3, scheme='modulo')
        [(0, 3), (1, 4), (2, 5)]
        >>> make_folds(6, num_folds=3, scheme='contiguous')
        [(0, 1), (2, 3), (4, 5)]
    """
    if not 1 <= num_folds <= num_classes:
        raise ValueError(f'num_folds must be between 1 and the number of classes {num_classes}, got {num_folds}.')
    if scheme == 'modulo':
        return [tuple(range(fold, num_classes, num_folds)) for fold in range(num_folds)]
    if scheme == 'contiguous':
        size, rest = divmod(num_classes, num_folds)
        starts = [fold * size + min(fold, rest) for fold in range(num_folds + 1)]
        return [tuple(range(first, last)) for first, last in zip(starts, starts[1:])]
    raise ValueError(f"Unknown fold scheme {scheme!r}; known: 'contiguous', 'modulo'.")


def check_split(split: str) -> None:
    """Raise a ValueError for an unknown split."""
    if split not in SPLITS:
        raise ValueError(f'Unknown split {split!r}; known: {SPLITS}.')


def check_classes_of(classes_of: Optional[str], split: str, fold: Optional[int], class_ids: Optional[Sequence]) -> None:
    """Raise a ValueError if ``classes_of`` (see :class:`EpisodicDataset`) does not apply."""
    if classes_of is None:
        return
    if (classes_of, split) != ('train', 'val'):
        raise ValueError(f"classes_of='train' goes with split='val' (validation on the training classes), got "
                         f'classes_of={classes_of!r} with split={split!r}.')
    if fold is None or class_ids is not None:
        reason = 'all classes are in every split with fold=None' if fold is None else 'the classes are given'
        raise ValueError(f"classes_of='train' takes the training classes of a fold, but {reason}: leave it out.")


def fold_classes(folds: Sequence[Sequence[int]], fold: Optional[int], split: str) -> Tuple[int, ...]:
    """Return the ascending ids of the classes that episodes of a split are drawn from.

    Training on fold f uses the classes of all other folds, validation and test those of fold f.

    Args:
        folds (Sequence[Sequence[int]]): Class ids of each fold.
        fold (int, optional): The fold; None uses every class in every split.
        split (str): ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        ValueError: If fold or split is unknown, or nothing is left to train on.
    """
    check_split(split)
    if fold is None:
        return tuple(sorted(class_id for group in folds for class_id in group))
    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < len(folds):
        raise ValueError(f'Unknown fold {fold!r}; known: {list(range(len(folds)))}.')
    if split != 'train':
        return tuple(sorted(folds[fold]))
    others = sorted(class_id for number, group in enumerate(folds) if number != fold for class_id in group)
    if not others:
        raise ValueError('With a single fold no class is left for training; use fold=None to train on all classes.')
    return tuple(others)


def resolve_classes(names_or_ids: Sequence[Union[int, str]], classes: Sequence[str]) -> Tuple[int, ...]:
    """Turn class names or ids into ids.

    A word is a name, also a word of digits, as class folders may be called; an integer is an id, and so is ``'id:7'``.
    On command lines all arguments are words: one of digits is an id where no class is called by a number. What could
    be meant in two ways is an error. Names are compared in composed Unicode form, see
    :func:`mmfss.utils.names.normal_name`.

    .. code-block:: python

        resolve_classes(['cat', 0, 'id:1'], ('ant', 'bee', 'cat'))      # (2, 0, 1)
        resolve_classes(['10'], ('1', '10', '2', '20'))                 # (1, ), the class called "10"
        resolve_classes([1], ('1', '10', '2', '20'))                    # an error: '1' or 'id:1', which is "10"?

    Args:
        names_or_ids (Sequence[int | str]): What a user wrote; the numbers of a ``range`` are always ids.
        classes (Sequence[str]): All class names.

    Raises:
        ValueError: If one is unknown, occurs twice or could be meant in two ways.
    """
    if isinstance(names_or_ids, range):
        names_or_ids = [f'id:{number}' for number in names_or_ids]
    # Of equal names the first counts.
    known = {normal_name(name): class_id for class_id, name in reversed(list(enumerate(classes)))}
    ids = tuple(_resolve_class(entry, classes, known) for entry in names_or_ids)
    if len(set(ids)) != len(ids):
        raise ValueError(f'A class is given twice: {list(names_or_ids)}.')
    return ids


def _resolve_class(entry: Union[int, str], classes: Sequence[str], known: Mapping[str, int]) -> int:
    """Find the id of one class; ``known`` maps composed names to ids."""
    if isinstance(entry, str) and normal_name(entry) in known:
        return known[normal_name(entry)]
    # An id, as a number, its numeral or "id:3"
    number = re.fullmatch('(?P<sure>id:)?(?P<id>[0-9]+)', str(entry)) if not isinstance(entry, (bool, float)) else None
    if number is None or int(number['id']) >= len(classes):
        names = ', '.join(visible(name) for name in classes[:100]) + (' ...' if len(classes) > 100 else '')
        raise ValueError(f'Unknown class {entry!r}; known are the ids 0..{len(classes) - 1} and the names: {names}.')
    class_id, name = int(number['id']), str(entry)
    if number['sure'] or known.get(name) == class_id:
        return class_id
    # Numerals that may be a name or an id
    if name in known:
        raise ValueError(f'Class {entry!r} could be meant in two ways. Write {name!r}, a string, for the class of that '
                         f'name, or "id:{class_id}" for the id, which is the class "{visible(classes[class_id])}".')
    numerals = [other for other in classes if re.fullmatch('[0-9]+', other)]
    if isinstance(entry, str) and numerals:
        raise ValueError(f'No class is called "{entry}", but others are called by numbers: {few(numerals)}. Write one '
                         f'of these, or "id:{class_id}" for the id, which is the class "{visible(classes[class_id])}".')
    return class_id
