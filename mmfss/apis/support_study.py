"""Measurement of the effect of choosing supports, class by class."""
from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence

import numpy as np

from mmfss.datasets import EpisodicDataset
from mmfss.explainers import Explainer
from mmfss.models import BaseFewShotSegmentor
from mmfss.utils.config_options import ConfigError
from .support_selection import AnnotatedImages, SupportSelector, compare_with_random, random_choices, select

ATTRIBUTION, LEAVE_ONE_OUT, SINGLE, WHOLE = 'attribution', 'leave one out', 'alone', 'whole pool'


@dataclass(frozen=True)
class SupportStudy:
    """Hold the options of the comparison.

    Attributes:
        explainer (Explainer): For the score by attribution.
        shots (Sequence[int]): Numbers of supports to choose.
        pool (int): Candidates of a class.
        queries (int): Queries of a class by which candidates are ranked.
        test_queries (int): Other queries of a class, at most, on which choices are measured.
        draws (int): Random choices.
        seed (int): Seed of the images and of the random choices.
        batch_size (int): Images that go through the model together.

    Raises:
        ConfigError: If a number does not fit.
    """
    explainer: Explainer
    shots: Sequence[int] = (1, )
    pool: int = 12
    queries: int = 8
    test_queries: int = 24
    draws: int = 20
    seed: int = 0
    batch_size: int = 8

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f'seed must be 0 or more, got {self.seed}.')
        for name in ('queries', 'test_queries', 'draws', 'batch_size'):
            if getattr(self, name) < 1:
                raise ConfigError(f'{name} must be 1 or more, got {getattr(self, name)}.')
        if not self.shots or not all(1 <= count < self.pool for count in self.shots):
            raise ConfigError(f'The numbers of shots must lie between 1 and pool - 1 = {self.pool - 1}, got '
                              f'{list(self.shots)}.')

    def divide(self, names: Sequence[str], class_id: int, class_name: str) -> list[list[str]]:
        """Divide the images of a class at random into pool, queries and test queries.

        Raises:
            ConfigError: If there are too few.
        """
        names = list(dict.fromkeys(names))
        needed = self.pool + self.queries + 1
        if len(names) < needed:
            raise ConfigError(f'The class "{class_name}" has {len(names)} images, but a pool of {self.pool} and '
                              f'{self.queries} queries need {needed}, to leave one to measure on. Make --pool or '
                              '--queries smaller.')
        order = np.random.default_rng([self.seed, class_id]).permutation(len(names))
        ends = np.cumsum([self.pool, self.queries, self.test_queries])
        return [[names[place] for place in part] for part in np.split(order[:ends[-1]], ends[:-1])]

    def study_class(self, model: BaseFewShotSegmentor, dataset: EpisodicDataset, class_id: int) -> dict[str, Any]:
        """Rank the candidates of one class, and measure choices.

        Args:
            model (BaseFewShotSegmentor): The model, in eval mode.
            dataset (EpisodicDataset): Where images come from.
            class_id (int): The class.

        Returns:
            dict: ``class_name``; ``candidates``, the best by attribution first, each with ``name`` and its scores;
            ``chosen``, by number of shots and way of choosing the names; ``iou`` likewise, fractions on the test
            queries; ``random``, by number of shots the IoU of each random choice.
        """
        class_name = dataset.index.classes[class_id]
        parts = self.divide(dataset.lists.images_of(class_id), class_id, class_name)
        # Score the candidates on the queries
        pool, queries, test = (AnnotatedImages.load(dataset, names, class_id, model) for names in parts)
        selector = SupportSelector(model, pool, self.batch_size)
        scores = {
            ATTRIBUTION: selector.attribution_scores(self.explainer, queries),
            LEAVE_ONE_OUT: selector.leave_one_out_scores(queries),
            SINGLE: selector.measure([[number] for number in range(len(pool))], queries),
        }
        result: dict[str, Any] = dict(
            class_name=class_name,
            candidates=[dict(name=pool.names[number], **{key: values[number] for key, values in scores.items()})
                        for number in select(scores[ATTRIBUTION], len(pool))],
            num_test_queries=len(test), chosen={}, iou={}, random={})
        # Measure each choice, and random ones, on the test queries
        for count in self.shots:
            choices = {key: select(values, count) for key, values in scores.items()}
            drawn = random_choices(len(pool), count, self.draws, self.seed)
            *chosen, whole = selector.measure([*choices.values(), range(len(pool))], test)
            result['chosen'][count] = {key: [pool.names[n] for n in choice] for key, choice in choices.items()}
            result['iou'][count] = {**dict(zip(choices, chosen)), WHOLE: whole}
            result['random'][count] = selector.measure(drawn, test)
        return result

    def run(self, model: BaseFewShotSegmentor, dataset: EpisodicDataset, class_ids: Sequence[int],
            report: Optional[Callable[[dict[str, Any]], None]] = None) -> dict[str, Any]:
        """Study several classes.

        Args:
            model (BaseFewShotSegmentor): The model, in eval mode.
            dataset (EpisodicDataset): Where images come from.
            class_ids (Sequence[int]): The classes.
            report (Callable, optional): Called with the result of each class.

        Returns:
            dict: ``classes``, results of :meth:`study_class`; ``rows``, by number of shots and way of choosing the mIoU
            in per cent, with the mean and the interval of random choices and the share of them it ``beats``.
        """
        classes = []
        for class_id in class_ids:
            classes.append(self.study_class(model, dataset, class_id))
            if report is not None:
                report(classes[-1])
        return dict(classes=classes, rows=[self._row(classes, count, key) for count in self.shots
                                           for key in (ATTRIBUTION, LEAVE_ONE_OUT, SINGLE, WHOLE)])

    @staticmethod
    def _row(classes: Sequence[dict[str, Any]], count: int, key: str) -> dict[str, Any]:
        # A random choice of all classes is one of each.
        drawn = 100 * np.mean([result['random'][count] for result in classes], axis=0)
        miou = float(100 * np.mean([result['iou'][count][key] for result in classes]))
        return dict(shots=count, choice=key, miou=miou, random=compare_with_random(miou, drawn))


def to_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Format the result of :meth:`SupportStudy.run` as a table."""
    lines = [['shots', 'chosen by', 'mIoU', 'random choice', '95 % of choices', 'beats'],
             ['---:', '---', '---:', '---:', '---:', '---:']]
    for row in rows:
        random = row['random']
        low, high = random['interval']
        lines.append([str(row['shots']), row['choice'], f'{row["miou"]:.1f}', f'{random["mean"]:.1f}',
                      f'{low:.1f} to {high:.1f}', f'{100 * random["beats"]:.0f} %'])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'
