"""Decomposition of few-shot predictions into prototypes: a record of each class, and its maps."""
from typing import Iterable, Sequence

import torch
from torch import Tensor

from mmfss.explainers import Explainer
from mmfss.models import BaseFewShotSegmentor
from mmfss.models.layers.prototype_reading import SIDES, PrototypeReading
from mmfss.structures import Episode
from ..map_store import MapStore
from ..run_folder import Arrays, Record

SIDE_NAMES = ('object', 'background')
_TOP = 3


def reading_explainer(explainers: Iterable[Explainer]) -> Explainer | None:
    """Return the first explainer that decomposes predictions into prototypes, or None."""
    return next((explainer for explainer in explainers if explainer.reads_prototypes), None)


def describe_episode(explainer: Explainer, model: BaseFewShotSegmentor, episode: Episode, region: Tensor,
                     names: Sequence[str]) -> tuple[list[Record], Arrays]:
    """Decompose the prediction of every class of an episode.

    Args:
        explainer (Explainer): With ``readings``, see :class:`PrototypeExplainer`.
        model (BaseFewShotSegmentor): The model.
        episode (Episode): N ways.
        region (Tensor): What is explained of each class, bool, (N, h, w).
        names (Sequence[str]): Names of the classes.

    Returns:
        tuple[list[dict], dict]: The record of each class, see :func:`explain_reading`, and the arrays that they number:
        ``prototypes/maps`` and ``prototypes/choices`` on the grid of the query, ``prototypes/assignments`` on that of
        the supports.
    """
    maps, assignments, choices = MapStore(), MapStore(), MapStore()
    records = []
    for way, (reading, weights) in enumerate(explainer.readings(model, episode, region)):
        record = explain_reading(reading, weights, way, maps, assignments, choices)
        records.append(dict(record, class_name=names[way], pixels=int(region[way].sum())))
    arrays = {f'prototypes/{name}': store.array(dtype) for name, store, dtype in (
        ('maps', maps, 'float16'), ('assignments', assignments, 'float16'), ('choices', choices, 'uint16'))}
    return records, arrays


def explain_reading(reading: PrototypeReading, weights: Tensor, way: int, maps: MapStore, assignments: MapStore,
                    choices: MapStore) -> Record:
    """Decompose the mean log odds of one class over a region.

    Args:
        reading (PrototypeReading): Of one query.
        weights (Tensor): How much each query cell counts, sum 1, (1, h, w).
        way (int): The class.
        maps (MapStore): For similarities, and for activations of groups.
        assignments (MapStore): For the weights of a prototype's cells, relative to the largest.
        choices (MapStore): For the object's strongest group in each cell.

    Returns:
        dict: A record, see :mod:`mmfss.visualization.decomposition`. Groups have a ``side``, 'object' or 'background'
        (with negative contributions), and a number ``group`` within it; the object's groups come first. The ``source``
        of a prototype has ``shot``, ``row``, ``column`` and ``grid`` and, where it is shown, the number of its
        ``assignment``. Terms are the ``bias`` and the correction by the ``decoder``.
    """
    prototypes, parts = reading.prototypes, reading.group_parts(weights)[0].cpu()
    # Total log odds, and what bias and decoder add
    odds = _mean(reading.odds[0], weights)
    total = _mean(reading.logits[0, 1] - reading.logits[0, 0], weights)
    record: Record = dict(
        quantity='log odds', total=total, groups=[], choices=[],
        terms=[dict(name='bias', contribution=float(reading.bias)), dict(name='decoder', contribution=total - odds)])
    places, shares = reading.source_places()[0].tolist(), reading.assignment_maps()[0]

    def describe(number: int, scale: int, slot: int, sign: int, shown: bool) -> Record:
        """Describe a prototype in a group."""
        similarity = reading.similarities[0, scale, slot]
        shot, row, column = places[scale][slot]
        entry = dict(
            index=scale * reading.similarities.shape[2] + slot, scale=scale, colour=scale,
            weight=float(prototypes.groups[0, number, scale, slot]), activation=_mean(similarity, weights),
            contribution=sign * float(parts[number, scale, slot]),
            source=dict(shot=shot, row=row, column=column, grid=list(prototypes.size[1:])))
        if shown:
            entry['map'] = maps.add((way, scale, slot), similarity)
            # The cells that the prototype was made of
            made_of = shares[scale, slot, shot]
            entry['source']['assignment'] = assignments.add(
                (way, scale, slot), made_of / made_of.max().clamp(min=torch.finfo(made_of.dtype).tiny))
        return entry

    # Groups of each side, by falling contribution
    for index, side in enumerate(SIDES):
        numbers = (prototypes.group_side == side).nonzero().flatten().tolist()
        sign = 1 if side == SIDES[0] else -1
        found = []
        for place, number in enumerate(numbers):
            if not bool(prototypes.group_exists[0, number]):
                continue
            members = (prototypes.groups[0, number] > 0).nonzero().tolist()
            members.sort(key=lambda pair, number=number: -float(parts[(number, *pair)]))
            found.append(dict(
                title=f'{SIDE_NAMES[index]} {place + 1}', colour=place if side == SIDES[0] else None,
                side=SIDE_NAMES[index], group=place, weight=None,
                activation=_mean(reading.activations[0, number], weights),
                contribution=sign * float(parts[number].sum()),
                map=maps.add((way, 'group', number), reading.activations[0, number]),
                prototypes=[describe(number, *pair, sign, rank < _TOP) for rank, pair in enumerate(members)]))
        record['groups'] += sorted(found, key=lambda group: -abs(group['contribution']))
        # Strongest group of the object at each position
        if side == SIDES[0] and found:
            said = reading.activations[0, numbers].masked_fill(
                ~prototypes.group_exists[0, numbers][:, None, None], -torch.inf)
            record['choices'] = [dict(caption='strongest group of the object',
                                      choice=choices.add((way, 'group'), said.argmax(0)))]
    return record


def _mean(values: Tensor, weights: Tensor) -> float:
    return float((values * weights[0]).sum())


