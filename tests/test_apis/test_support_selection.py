from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from torch import Tensor

from mmfss.apis.support_selection import AnnotatedImages, SupportSelector, compare_with_random, random_choices, select
from mmfss.apis.support_study import ATTRIBUTION, LEAVE_ONE_OUT, SINGLE, WHOLE, SupportStudy, to_markdown
from mmfss.evaluation.functional import episode_counts
from mmfss.explainers import EmptyRegionError, Explainer
from mmfss.models import FewShotSegmentor
from mmfss.registry import DATASETS
from mmfss.structures import Episode
from mmfss.utils.config_options import ConfigError
from tests.references.seeded import seeded_image, seeded_mask
from tests.tiny.data import PIPELINE, write_class_folders
from tests.tiny.model import build_tiny_model


class MaskArea(Explainer):
    """Credits every mask pixel, so that large objects win."""

    def _attribute(self, model: FewShotSegmentor, episode: Episode, region: Tensor) -> Tensor:
        return episode.masks


def annotated(name: str, count: int) -> AnnotatedImages:
    return AnnotatedImages(
        [f'{name}{number}' for number in range(count)],
        torch.from_numpy(seeded_image(name, (count, 3, 64, 64))),
        torch.from_numpy(seeded_mask(name, (count, 64, 64))).long())


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_tiny_model()


@pytest.fixture(scope='module')
def selector(model: FewShotSegmentor) -> SupportSelector:
    return SupportSelector(model, annotated('pool', 4), batch_size=3)


class TestSupportSelector:

    def test_measure_as_the_model_predicts(self, model: FewShotSegmentor, selector: SupportSelector) -> None:
        queries = annotated('query', 2)
        queries.labels[0, :8] = 255
        choices = [[2], [3, 0]]
        expected = []
        for choice in choices:
            total = np.zeros(2)
            for image, target in zip(queries.images, queries.labels):
                with torch.no_grad():
                    logits = model.logits(image[None], selector.pool.images[choice][None, None],
                                          selector.pool.masks[choice][None, None])
                total += episode_counts(logits[0].argmax(0), target, 1)['foreground']
            expected.append(total[0] / total[1])
        assert selector.measure(choices, queries) == pytest.approx(expected, abs=1e-6)
        assert expected[0] != expected[1]

    def test_leave_one_out(self, selector: SupportSelector) -> None:
        queries = annotated('query', 2)
        whole, without = selector.measure([[0, 1, 2, 3], [0, 2, 3]], queries)
        scores = selector.leave_one_out_scores(queries)
        assert len(scores) == 4 and scores[1] == pytest.approx(whole - without)

    def test_attribution(self, selector: SupportSelector) -> None:
        areas = selector.pool.masks.mean((1, 2))
        scores = selector.attribution_scores(MaskArea(), annotated('query', 2))
        assert scores == pytest.approx((areas / areas.mean()).tolist())
        assert np.mean(scores) == pytest.approx(1)

    def test_nothing_predicted(self) -> None:
        model = build_tiny_model()
        with torch.no_grad():
            model.head.mixer3[2].bias[1] -= 10
        with pytest.raises(EmptyRegionError, match='predicts nothing in any query'):
            SupportSelector(model, annotated('pool', 2)).attribution_scores(MaskArea(), annotated('query', 1))

    def test_bad_pools(self, model: FewShotSegmentor) -> None:
        with pytest.raises(ValueError, match='two candidates or more, got 1'):
            SupportSelector(model, annotated('pool', 1))
        pool = annotated('pool', 3)
        pool.labels[1] = 0
        with pytest.raises(ValueError, match='candidate "pool1" is empty'):
            SupportSelector(model, pool)


def test_choices() -> None:
    assert select([0.1, 0.5, 0.5, 0.3], 3) == [1, 2, 3]
    drawn = random_choices(5, 3, 4, seed=0)
    assert len(drawn) == 4 and all(len(set(choice)) == 3 and max(choice) < 5 for choice in drawn)
    assert drawn == random_choices(5, 3, 4, seed=0) != random_choices(5, 3, 4, seed=1)
    assert compare_with_random(3, [1, 2, 3, 4]) == dict(mean=2.5, interval=pytest.approx([1.075, 3.925]), beats=0.625)


class TestSupportStudy:

    def study(self, **changes) -> SupportStudy:
        return SupportStudy(MaskArea(), **{**dict(shots=[1, 2], pool=3, queries=1, test_queries=5, draws=4), **changes})

    def test_on_folders(self, model: FewShotSegmentor, tmp_path: Path) -> None:
        dataset = DATASETS.build(ConfigDict(
            type='ImageFolderDataset', data_root=str(write_class_folders(tmp_path, num_images=6)), fold=None,
            pipeline=PIPELINE))
        seen = []
        results = self.study().run(model, dataset, [0, 2], seen.append)
        assert [result['class_name'] for result in results['classes']] == ['ant', 'cat'] and seen == results['classes']
        first = results['classes'][0]
        scores = [candidate[ATTRIBUTION] for candidate in first['candidates']]
        assert scores == sorted(scores, reverse=True) and first['num_test_queries'] == 2
        assert first['chosen'][2][ATTRIBUTION] == [candidate['name'] for candidate in first['candidates'][:2]]
        assert len(first['random'][1]) == 4
        assert [(row['shots'], row['choice']) for row in results['rows']] == [
            (count, key) for count in (1, 2) for key in (ATTRIBUTION, LEAVE_ONE_OUT, SINGLE, WHOLE)]
        row = results['rows'][0]
        assert row['miou'] == pytest.approx(
            50 * sum(result['iou'][1][ATTRIBUTION] for result in results['classes']))
        assert row['random']['mean'] == pytest.approx(
            100 * np.mean([result['random'][1] for result in results['classes']]))
        assert f'| 1 | attribution | {row["miou"]:.1f} |' in to_markdown(results['rows'])

    def test_parts_do_not_overlap(self) -> None:
        names = [str(number) for number in range(20)]
        parts = self.study().divide(names + names, 3, 'ant')
        assert [len(part) for part in parts] == [3, 1, 5] and len({name for part in parts for name in part}) == 9
        assert parts == self.study().divide(names, 3, 'ant') != self.study(seed=1).divide(names, 3, 'ant')

    def test_errors(self) -> None:
        with pytest.raises(ConfigError, match='class "ant" has 4 images, but a pool of 3 and 1 queries need 5'):
            self.study().divide(list('abcd'), 0, 'ant')
        with pytest.raises(ConfigError, match=r'between 1 and pool - 1 = 2, got \[3\]'):
            self.study(shots=[3])
        with pytest.raises(ConfigError, match='draws must be 1 or more, got 0'):
            self.study(draws=0)
