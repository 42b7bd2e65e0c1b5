import io
import json
import runpy
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from mmfss.apis import FewShotInferencer
from mmfss.apis.query_study import QueryStudy, with_threshold
from mmfss.apis.study_files import ModelSource, coco_json, mask_png, study_zip
from mmfss.apis.support_effects import predict_without, support_effects
from mmfss.apis.support_set import load_support
from mmfss.evaluation.attribution import build_attribution_metric
from tests.tiny.app import GREEN, RED, picture, write_model

SUPPORT = dict(red=[picture(RED, seed=1), picture(RED, (40, 20, 80, 50), seed=2)],
               green=[picture(GREEN, (10, 10, 50, 40), seed=4)])
QUERY, TARGET = picture(RED, (30, 10, 70, 40), seed=3)


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    return ModelSource(*write_model(tmp_path_factory.mktemp('model')))


@pytest.fixture(scope='module')
def inferencer(source: ModelSource) -> FewShotInferencer:
    return FewShotInferencer(source.config, source.checkpoint, bgr=False)


@pytest.fixture(scope='module')
def study(inferencer: FewShotInferencer) -> QueryStudy:
    return QueryStudy(inferencer, QUERY, inferencer.encode_support(SUPPORT), TARGET)


@pytest.fixture(scope='module')
def single(inferencer: FewShotInferencer) -> QueryStudy:
    return QueryStudy(inferencer, QUERY, inferencer.encode_support(dict(red=SUPPORT['red'])), TARGET)


class TestPrediction:

    def test_equals_the_inferencer(self, study: QueryStudy, inferencer: FewShotInferencer) -> None:
        expected = inferencer.predict(QUERY, support=study.support, return_logits=True)
        assert np.array_equal(study.mask, expected['mask']) and study.iou()[0] > 0.3

    def test_threshold_changes_no_other_study(self, inferencer: FewShotInferencer, single: QueryStudy) -> None:
        areas = [QueryStudy(inferencer, QUERY, single.support, threshold=t).mask.sum() for t in (0.2, 0.5, 0.9)]
        assert areas[0] > areas[1] > areas[2] and inferencer.model.threshold == 0.5
        assert with_threshold(inferencer, None) is inferencer
        with pytest.raises(ValueError, match='between 0 and 1'):
            with_threshold(inferencer, 1.)

    def test_truth_of_another_size(self, inferencer: FewShotInferencer, single: QueryStudy) -> None:
        with pytest.raises(ValueError, match='The truth has size'):
            QueryStudy(inferencer, QUERY, single.support, TARGET[:9])


class TestExplanation:

    def test_equals_the_inferencer(self, study: QueryStudy, inferencer: FewShotInferencer) -> None:
        for region in ('all', 'box:30,10,70,40'):
            result = inferencer.predict(QUERY, support=study.support, explain='signed_affex', region=region)
            explained = study.explain('signed_affex', region)
            for way in range(2):
                for first, second in zip(result['attributions'][way], explained.result['attributions'][way]):
                    np.testing.assert_allclose(first, second, atol=1e-6)
            contributions = explained.result['contributions'][0]
            assert len(contributions['layers']) == 2 and sum(contributions['layers']) == pytest.approx(1)
            assert result['contributions'][0] == contributions

    def test_the_region_of_the_inferencer(self, study: QueryStudy, inferencer: FewShotInferencer) -> None:
        other = FewShotInferencer(inferencer.model, bgr=False, explain='signed_affex', region='box:0,0,20,20')
        expected = study.explain('signed_affex', 'box:0,0,20,20').result['attributions'][0][0]
        np.testing.assert_allclose(other.predict(QUERY, support=study.support)['attributions'][0][0], expected,
                                   atol=1e-6)
        whole = study.explain('signed_affex', 'all').result['attributions'][0][0]
        assert np.abs(whole - expected).max() > 0.01

    def test_the_truth_and_a_part(self, single: QueryStudy) -> None:
        truth = single.explain('signed_affex', 'ground_truth')
        expected = single.explain('signed_affex', TARGET == 1)
        assert torch.equal(truth.ways[0].attribution, expected.ways[0].attribution)
        y, x = np.argwhere(single.mask == 1)[0]
        part = single.explain('signed_affex', f'component:{x},{y}')
        assert 0 < part.regions.sum() <= (single.mask == 1).sum()

    def test_nothing_to_explain(self, inferencer: FewShotInferencer, single: QueryStudy) -> None:
        blank = QueryStudy(inferencer, np.full((40, 60, 3), 110, np.uint8), single.support, threshold=0.99)
        assert not blank.mask.any()
        with pytest.raises(ValueError, match='predicts no class'):
            blank.explain()
        with pytest.raises(ValueError, match='whose truth is known'):
            blank.explain(region='ground_truth')


class TestPixel:

    def test_reads_a_row_of_the_affinity(self, single: QueryStudy) -> None:
        model = single.inferencer.model
        way, = model.matched_ways(model.extract_feat(single.network_query[None]), single.support.encoding)
        readings = single.read_pixel(0, 50, 25)
        assert len(readings) == len(way.affinities) == 2
        for reading, affinity in zip(readings, way.affinities):
            height, width = affinity.query_size
            row = affinity.dense()[0, 25 * height // 64 * width + 50 * width // 96].softmax(0)
            np.testing.assert_allclose(reading.ravel(), row.detach().numpy(), atol=1e-6)
            assert reading.shape[0] == 2

    def test_outside_of_the_query(self, single: QueryStudy) -> None:
        with pytest.raises(ValueError, match='lies outside'):
            single.read_pixel(0, 96, 3)


class TestTruth:

    def test_curve_is_the_metric(self, single: QueryStudy) -> None:
        explained = single.explain()
        told: list[float] = []
        for mode in ('ins', 'del'):
            curve = single.curve(explained, 0, mode, num_steps=4, report=told.append)
            metric = build_attribution_metric(f'{"i" if mode == "ins" else "d"}auc', num_steps=4, skip_empty=False)
            subject, _ = single._judged(0)
            expected = metric.measure(subject, explained.ways[0].attribution[None], explained.regions)
            assert curve.value == pytest.approx(expected.value, abs=0.02) and curve.compared_with == 'truth'
            assert len(curve.scores) == len(curve.predictions) == 5 and told[-1] == 1
            assert curve.shown(0).all() == (mode == 'del') and curve.shown(4).all() == (mode == 'ins')
            assert curve.shown(2).sum() == curve.ranks.size // 2

    def test_scores_and_own_prediction(self, inferencer: FewShotInferencer, single: QueryStudy) -> None:
        explained = single.explain()
        values = single.measure(explained, 0, ['miou_loss@5%'])
        assert -1 <= values['miou_loss@5%'] <= 1
        blind = QueryStudy(inferencer, QUERY, single.support)
        curve = blind.curve(blind.explain(), 0, num_steps=2)
        assert curve.compared_with == 'prediction' and curve.scores[-1] == 1 and blind.iou() is None


class TestSupports:

    def test_leaving_out_and_adding(self, single: QueryStudy) -> None:
        wrong = load_support([picture(GREEN, seed=9)], single.inferencer.transform, bgr=False)['object']
        effects = support_effects(single, 0, wrong)
        first, second, candidate = effects.rows
        assert effects.compared_with == 'truth' and (first.used, candidate.used) == (True, False)
        assert first.with_it == second.with_it == candidate.without_it
        only_second = QueryStudy(single.inferencer, QUERY, single.inferencer.encode_support(
            dict(red=SUPPORT['red'][1:])), TARGET)
        without = predict_without(single, 0, 0)
        assert without.shape == TARGET.shape
        assert (without != (only_second.mask == 1)).mean() < 0.08  # resized as a mask, not as logits
        assert sum(row.credit for row in effects.rows) == pytest.approx(3, abs=1e-4)
        assert all(sentence.endswith('.') for sentence in effects.advice())

    def test_a_single_support(self, study: QueryStudy) -> None:
        with pytest.raises(ValueError, match='A single support cannot be left out'):
            support_effects(study, 1)


class TestFiles:

    def test_the_zip_reproduces_itself(self, inferencer: FewShotInferencer, source: ModelSource, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
        study = QueryStudy(inferencer, QUERY, inferencer.encode_support(SUPPORT), TARGET, threshold=0.4)
        explained = [study.explain('signed_affex', 'all'),
                     study.explain(dict(type='unmasked_affex', aggregation='mean'), TARGET == 1)]
        content = study_zip(study, source, explained, [
            {'class': 'red', 'explainer': 'signed_affex', 'score': 'IAUC', 'value': 0.5}])
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            assert file.testzip() is None
            file.extractall(tmp_path)
        monkeypatch.chdir(tmp_path)
        done = runpy.run_path('reproduce.py')
        reproduced = np.asarray(Image.open(tmp_path / 'reproduced.png'))
        assert np.array_equal(reproduced, study.mask) and np.array_equal(done['mask'], study.mask)
        with np.load(tmp_path / 'attributions.npz') as arrays:
            assert len(arrays.files) == 2 * 3
            np.testing.assert_allclose(arrays['unmasked_affex/red/2'], done['result']['attributions'][0][1], atol=1e-6)
        assert 'red,signed_affex,IAUC,0.5' in (tmp_path / 'scores.csv').read_text()
        assert np.array_equal(np.asarray(Image.open(tmp_path / 'mask.png')), study.mask)

    def test_coco(self, study: QueryStudy) -> None:
        content = json.loads(json.dumps(coco_json(study)))
        assert [category['name'] for category in content['categories']] == ['red', 'green']
        assert content['annotations']
        for annotation in content['annotations']:
            expected = study.mask == annotation['category_id']
            assert np.array_equal(coco_mask.decode(annotation['segmentation']), expected)
            assert annotation['area'] == expected.sum()

    def test_palette(self, study: QueryStudy) -> None:
        mask = Image.open(io.BytesIO(mask_png(study.mask, 2)))
        assert mask.mode == 'P' and np.array_equal(np.asarray(mask), study.mask)
