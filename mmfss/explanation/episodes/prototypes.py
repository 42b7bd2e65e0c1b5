"""What the prototypes of a few-shot model said of an episode: a record, maps, and a panel of each class."""
from typing import Any, Iterable, Sequence

import torch
from torch import Tensor

from mmfss.explainers import Explainer
from mmfss.models import FewShotSegmentor
from mmfss.models.layers.prototype_reading import SIDES, PrototypeReading
from mmfss.structures import Episode
from ..map_store import MapStore
from ..run_folder import Arrays

Tree = dict[str, Any]

SIDE_NAMES = ('object', 'background')
_TOP = 3


def reading_explainer(explainers: Iterable[Explainer]) -> Explainer | None:
    """The first explainer that can say what prototypes said (``readings``), if there is one."""
    return next((explainer for explainer in explainers if hasattr(explainer, 'readings')), None)


def describe_episode(explainer: Explainer, model: FewShotSegmentor, episode: Episode, region: Tensor,
                     names: Sequence[str]) -> tuple[list[Tree], Arrays]:
    """Take the prediction of every class of an episode apart.

    Args:
        explainer (Explainer): With ``readings``, see :class:`PrototypeExplainer`.
        model (FewShotSegmentor): The model.
        episode (Episode): N ways.
        region (Tensor): What is explained of each class, bool, (N, h, w).
        names (Sequence[str]): Names of the classes.

    Returns:
        tuple[list[dict], dict]: Of each class the parts, see :func:`explain_reading`, and the arrays that they number:
        ``prototypes/maps`` and ``prototypes/choices`` on the grid of the query, ``prototypes/assignments`` on that of
        the supports.
    """
    maps, assignments, choices = MapStore(), MapStore(), MapStore()
    trees = []
    for way, (reading, weights) in enumerate(explainer.readings(model, episode, region)):
        tree = explain_reading(reading, weights, way, maps, assignments, choices)
        trees.append(dict(tree, class_name=names[way], pixels=int(region[way].sum())))
    arrays = {f'prototypes/{name}': store.array(dtype) for name, store, dtype in (
        ('maps', maps, 'float16'), ('assignments', assignments, 'float16'), ('choices', choices, 'uint16'))}
    return trees, arrays


def explain_reading(reading: PrototypeReading, weights: Tensor, way: int, maps: MapStore, assignments: MapStore,
                    choices: MapStore) -> Tree:
    """Take the mean log odds of one class over a region apart.

    Args:
        reading (PrototypeReading): Of one query.
        weights (Tensor): How much each query cell counts, sum 1, (1, h, w).
        way (int): The class.
        maps (MapStore): For similarities, and for activations of groups.
        assignments (MapStore): For the cells that prototypes were made of, as parts of the largest.
        choices (MapStore): For the object's group that says most in each cell.

    Returns:
        dict: ``odds``, the mean log odds of the foreground; ``bias`` and ``decoder``, the parts of it that no prototype
        makes up; ``groups``, each with ``side``, its number ``group`` within the side, ``contribution`` (negative for
        the background; with bias and decoder they sum to the odds), ``log_activation`` (mean log g), ``map`` and
        ``prototypes``: ``index`` (scale after scale), ``scale``, ``weight`` in the group, mean ``similarity``,
        ``contribution`` (they sum to the group's), ``source`` (``shot``, ``row``, ``column`` and ``grid``), ``map`` and
        ``assignment``. The object's groups come first, larger ones before smaller ones. ``strongest_group`` numbers a
        choice.
    """
    prototypes, parts = reading.prototypes, reading.group_parts(weights)[0].cpu()
    odds = _mean(reading.odds[0], weights)
    total = _mean(reading.logits[0, 1] - reading.logits[0, 0], weights)
    tree: Tree = dict(odds=total, bias=float(reading.bias), decoder=total - odds, groups=[])
    places, shares = reading.source_places()[0].tolist(), reading.assignment_maps()[0]
    for index, side in enumerate(SIDES):
        numbers = (prototypes.group_side == side).nonzero().flatten().tolist()
        found = []
        for place, number in enumerate(numbers):
            if not bool(prototypes.group_exists[0, number]):
                continue
            sign = 1 if side == SIDES[0] else -1
            members = (prototypes.groups[0, number] > 0).nonzero().tolist()
            members.sort(key=lambda pair, number=number: -float(parts[(number, *pair)]))
            found.append(dict(
                side=SIDE_NAMES[index], group=place, contribution=sign * float(parts[number].sum()),
                log_activation=_mean(reading.activations[0, number], weights),
                map=maps.add((way, 'group', number), reading.activations[0, number]), prototypes=[]))
            for rank, (scale, slot) in enumerate(members):
                similarity = reading.similarities[0, scale, slot]
                shot, row, column = places[scale][slot]
                entry = dict(
                    index=scale * reading.similarities.shape[2] + slot, scale=scale,
                    weight=float(prototypes.groups[0, number, scale, slot]), similarity=_mean(similarity, weights),
                    contribution=sign * float(parts[number, scale, slot]),
                    source=dict(shot=shot, row=row, column=column, grid=list(prototypes.size[1:])))
                if rank < _TOP:
                    made_of = shares[scale, slot, shot]
                    entry.update(map=maps.add((way, scale, slot), similarity), assignment=assignments.add(
                        (way, scale, slot), made_of / made_of.max().clamp(min=torch.finfo(made_of.dtype).tiny)))
                found[-1]['prototypes'].append(entry)
        tree['groups'] += sorted(found, key=lambda group: -abs(group['contribution']))
        if side == SIDES[0] and found:
            said = reading.activations[0, numbers].masked_fill(
                ~prototypes.group_exists[0, numbers][:, None, None], -torch.inf)
            tree['strongest_group'] = choices.add((way, 'group'), said.argmax(0))
    return tree


def _mean(values: Tensor, weights: Tensor) -> float:
    return float((values * weights[0]).sum())


