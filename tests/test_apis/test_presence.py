"""Presence of classes, negative references: evidence, calibration, inferencer, measurement."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from mmfss.apis import FewShotInferencer
from mmfss.apis.presence import BASELINES, PRESENCE, PresenceStudy, absorb_negatives, calibration_record
from mmfss.datasets import EpisodicDataset
from mmfss.evaluation import PresenceAUC
from mmfss.evaluation.presence_auc import area_under_curve
from mmfss.models import BlackBoxSegmentor, FewShotSegmentor, PrototypeMatchingHead
from mmfss.models.layers.class_presence import EVIDENCE, PresenceCalibration, PresenceCells
from mmfss.models.segmentors import PresenceJudge
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import dump_json
from tests.tiny.colour_matching import BLUE, GREEN, RED, ColourSegmentor, square
from tests.tiny.data import PIPELINE, write_class_folders

CALIBRATION = PresenceCalibration([0.] * 5, [1.] * 5, [4., 4., 4., 4., 1.], -6.)


def build_model(size: int = 64) -> FewShotSegmentor:
    """Matches colours, by the mean prototype."""
    model = ColourSegmentor.build()
    model.head = PrototypeMatchingHead([[3], [3]], layers=[(0, -1)])
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[
        dict(type='ForEachImage', transforms=[
            dict(type='LoadEpisodeImage'), dict(type='LoadClassMask'),
            dict(type='ResizeEpisodeImage', scale=(size, size))]),
        dict(type='PackEpisodeInputs')]))))
    return model.eval()


def picture(colour: tuple[float, float, float], seed: int = 0,
            box: tuple[int, int, int, int] = (16, 16, 48, 48)) -> tuple[np.ndarray, np.ndarray]:
    """BGR picture of a coloured box on noisy grey, and its mask."""
    image, mask = square(colour, box=box, seed=seed)
    pixels = (128 + 100 * image.permute(1, 2, 0)).clamp(0, 255).to(torch.uint8).numpy()
    return np.ascontiguousarray(pixels[..., ::-1]), mask.to(torch.uint8).numpy()


def cells_of(colour: tuple, seed: int) -> tuple[Tensor, Tensor]:
    image, mask = square(colour, seed=seed)
    return torch.nn.functional.avg_pool2d(image[None], 4), mask[None]


def test_evidence_of_right_and_wrong_classes() -> None:
    support, masks = cells_of(RED, 1)
    cells = PresenceCells.of(support, masks[None])
    values = []
    for colour in (RED, BLUE):
        query, mask = cells_of(colour, 2)
        values.append(cells.evidence(query, mask))
    assert values[0].shape == (1, 4) and (values[0] > values[1] + 0.2).all()
    assert (values[0].abs() <= 2).all()


@pytest.mark.parametrize('value', (0., 1.))
def test_evidence_of_empty_and_full_masks_is_finite(value: float) -> None:
    support, masks = cells_of(RED, 1)
    cells = PresenceCells.of(support, torch.full_like(masks, value)[None])
    for foreground in (torch.zeros_like(masks), torch.ones_like(masks)):
        assert cells.evidence(support, foreground).isfinite().all()


def test_one_support_set_serves_several_queries() -> None:
    support, masks = cells_of(RED, 1)
    cells = PresenceCells.of(support, masks[None])
    queries = torch.cat([cells_of(colour, 3)[0] for colour in (RED, GREEN, BLUE)])
    together = cells.evidence(queries, masks.expand(3, -1, -1))
    for index in range(3):
        torch.testing.assert_close(cells.evidence(queries[[index]], masks)[0], together[index])


class TestCalibration:

    def test_recovers_log_odds(self) -> None:
        generator = torch.Generator().manual_seed(0)
        evidence = torch.randn(4000, 2, generator=generator, dtype=torch.float64) * torch.tensor([0.1, 3.]) + 1
        truth = (2 * (evidence[:, 0] - 1) / 0.1 - 0.5).sigmoid()
        present = torch.rand(4000, generator=generator, dtype=torch.float64) < truth
        calibration = PresenceCalibration.fit(evidence, present, penalty=0.)
        assert (calibration(evidence) - truth).abs().max() < 0.08
        assert abs(calibration.weights[1]) < 0.15

    def test_separable_evidence_is_finite(self) -> None:
        evidence, present = torch.arange(10.)[:, None], torch.arange(10) > 4
        probability = PresenceCalibration.fit(evidence, present)(evidence)
        assert ((probability > 0.5) == present).all() and (probability.diff() > 0).all()

    @pytest.mark.parametrize('value', (True, False))
    def test_needs_both_kinds(self, value: bool) -> None:
        with pytest.raises(ValueError, match='with and without the class'):
            PresenceCalibration.fit(torch.rand(5, 2), torch.full((5, ), value))

    def test_file(self, tmp_path: Path) -> None:
        dump_json(calibration_record(CALIBRATION, config='some.py'), tmp_path / 'a.json')
        evidence = torch.rand(3, 2, 5)
        torch.testing.assert_close(PresenceJudge.load(tmp_path / 'a.json')(evidence),
                                   torch.stack([CALIBRATION(x) for x in evidence]))
        torch.testing.assert_close(PresenceJudge.load(None)(evidence), evidence[..., :4].mean(-1))
        (tmp_path / 'b.json').write_text(json.dumps(dict(areas={})))
        with pytest.raises(ConfigError, match='b.json" holds no calibration'):
            PresenceJudge.load(tmp_path / 'b.json')

    def test_threshold(self) -> None:
        with pytest.raises(ConfigError, match='needs calibrated scores'):
            PresenceJudge(threshold=0.5)
        with pytest.raises(ConfigError, match='between 0 and 1, got 2'):
            PresenceJudge(CALIBRATION, 2)


class TestAUC:

    def test_by_pairs(self) -> None:
        rng = np.random.default_rng(0)
        scores, present = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
        pairs = [(a > b) + (a == b) / 2 for a in scores[present] for b in scores[~present]]
        assert area_under_curve(scores, present) == pytest.approx(np.mean(pairs))

    def test_metric(self) -> None:
        metric = PresenceAUC()
        metric.process(None, [dict(present=x > 1, scores=dict(good=x, bad=-x)) for x in range(4)])
        results = metric.evaluate(4)
        assert results == {'presence/good': 100, 'presence/bad': 0, 'presence/num_present': 2, 'presence/num_absent': 2}
        with pytest.raises(ValueError, match='no episode'):
            PresenceAUC().evaluate(0)


class TestInferencer:

    def test_presence_of_each_class(self) -> None:
        inferencer = FewShotInferencer(build_model())
        support = {name: [picture(colour, seed)] for seed, (name, colour) in
                   enumerate(dict(red=RED, blue=BLUE).items(), start=3)}
        result = inferencer(picture(RED)[0], support=support)
        assert result['presence'][0] > result['presence'][1] + 0.3

    def test_absent_class_has_an_empty_mask(self, tmp_path: Path) -> None:
        support, queries = [picture(RED, 5)], [picture(RED)[0], picture((1., 0.8, 0.))[0]]
        plain = FewShotInferencer(build_model())(queries, support=support)
        assert all((result['mask'] > 0).mean() > 0.1 for result in plain)  # something is found in both
        red, yellow = (result['presence'][0] for result in plain)
        assert red > yellow + 0.1
        calibration = PresenceCalibration([0.] * 5, [1.] * 5, [5.] * 4 + [0.], -20 * (red + yellow) / 2)
        dump_json(calibration_record(calibration), tmp_path / 'calibration.json')
        strict = FewShotInferencer(build_model(), presence=tmp_path / 'calibration.json', presence_threshold=0.5)
        results = strict(queries, support=support, return_logits=True)
        assert results[0]['presence'][0] > 0.5 > results[1]['presence'][0]
        assert (results[0]['mask'] == plain[0]['mask']).all() and (results[1]['mask'] == 0).all()

    def test_negative_references_take_pixels_away(self) -> None:
        image, red = picture(RED, box=(8, 8, 28, 56))
        other, orange = picture((1., 0.45, 0.), box=(36, 8, 56, 56))
        image[32:] = other[32:]
        inferencer, support = FewShotInferencer(build_model()), [picture(RED, 5)]
        alone = inferencer(image, support=support)
        assert 'negative_fraction' not in alone and alone['mask'][orange > 0].mean() > 0.9
        inferencer.set_support(support, negative=[picture((1., 0.45, 0.), 6)])
        result = inferencer(image, return_logits=True)
        assert result['mask'][red > 0].mean() > 0.9 and result['mask'][orange > 0].mean() < 0.1
        assert result['logits'].shape == (2, 64, 64) and len(result['presence']) == 1
        assert result['negative_fraction'] == pytest.approx((alone['mask'] > result['mask']).mean())

    def test_absorbed_logits(self) -> None:
        logits = torch.tensor([0., 2., 1., 1.5, 0.5]).view(5, 1, 1)  # background, two classes, two negatives
        assert absorb_negatives(logits, 2).flatten().tolist() == [1.5, 2, 1]
        assert absorb_negatives(logits, 0) is logits

    def test_negative_that_covers_everything(self) -> None:
        image, mask = picture(RED)
        inferencer = FewShotInferencer(build_model())
        with pytest.raises(ValueError, match='negative reference "image 1" covers the whole image'):
            inferencer.encode_support([(image, mask)], negative=[(image, np.ones_like(mask))])
        with pytest.raises(ValueError, match='class "negative"'):
            inferencer.encode_support([(image, mask)], negative=[(image, np.zeros_like(mask))])


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> EpisodicDataset:
    root = write_class_folders(tmp_path_factory.mktemp('data'), ('ant', 'bee', 'cat'))
    return EpisodicDataset(dict(type='ImageFolderIndex', data_root=str(root)), PIPELINE, fold=None,
                           folds=dict(num_folds=1), num_episodes=12)


class TestStudy:

    def test_beats_both_baselines(self, dataset: EpisodicDataset) -> None:
        study = PresenceStudy(build_model())
        calibration = study.calibrate(dataset)
        areas = study.measure(dataset, PresenceJudge(calibration))
        assert set(areas) == {f'presence/{name}' for name in (PRESENCE, *BASELINES, *EVIDENCE, 'num_present',
                                                              'num_absent')}
        assert areas['presence/num_present'] == areas['presence/num_absent'] == 12
        assert areas['presence/presence'] >= max(areas[f'presence/{name}'] for name in BASELINES)

    def test_queries_that_show_the_other_class_are_left_out(self, dataset: EpisodicDataset) -> None:
        study = PresenceStudy(build_model())
        study._shows_donor = lambda dataset, wrong, index: index % 3 > 0
        assert sum(not record['present'] for record in study.records(dataset)) == 4

    def test_needs_features(self) -> None:
        with pytest.raises(ConfigError, match='A BlackBoxSegmentor shows no feature map'):
            PresenceStudy(BlackBoxSegmentor(lambda query, supports, masks: query[0]))
