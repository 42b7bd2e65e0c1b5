import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from PIL import Image

from mmfss.apis import FewShotInferencer
from mmfss.apis.query_explanation import build_explainer
from mmfss.explainers import Explainer, Saliency, SignedAffEx
from mmfss.models import FewShotSegmentor
from mmfss.structures import Episode
from mmfss.utils.config_options import ConfigError
from tests.references.decisions import assert_decided
from tests.tiny.data import PIPELINE, draw_picture
from tests.tiny.model import TINY_MODEL, build_tiny_model

SUPPORT = dict(ant=[draw_picture('a', 0), draw_picture('b', 0, (70, 50))], bee=[draw_picture('c', 1)])
QUERY = draw_picture('q', 0, (48, 96))[0]


@pytest.fixture(scope='module')
def inferencer() -> FewShotInferencer:
    model = build_tiny_model(seed=1)
    model.cfg = Config(dict(model=TINY_MODEL, test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))
    # The logits of an untrained head hardly differ between pixels, some by no more than rounding.
    with torch.no_grad():
        for parameter in model.head.parameters():
            if parameter.ndim == 4:
                parameter.mul_(3)
    inferencer = FewShotInferencer(model)
    # An untrained head decides for one class everywhere: let it decide for each in a half of this query.
    logits = inferencer(QUERY, SUPPORT['bee'], return_logits=True)['logits']
    with torch.no_grad():
        model.head.mixer3[-1].bias[1] += float(np.median(logits[0] - logits[1]))
    return inferencer


class Ruler(Explainer):
    """Every map is the horizontal position, 0 to 1, plus the number of the call."""

    def __init__(self) -> None:
        self.episodes: list[Episode] = []
        self.regions: list[torch.Tensor] = []

    def _attribute(self, model: FewShotSegmentor, episode: Episode, region: torch.Tensor) -> torch.Tensor:
        self.episodes.append(episode)
        self.regions.append(region)
        columns = torch.linspace(0, 1, episode.support_size[1])
        return columns.expand(*episode.masks.shape) + len(self.episodes) - 1


def answer(monkeypatch: pytest.MonkeyPatch, inferencer: FewShotInferencer, labels: torch.Tensor, ways: int = 2) -> None:
    """Let the model answer these labels, whatever it sees."""
    logits = F.one_hot(labels, ways + 1).permute(2, 0, 1)[None].float()
    monkeypatch.setattr(inferencer.model, 'match', lambda query, *_: logits.expand(query.batch_size, -1, -1, -1))


class TestAttributions:

    def test_equal_the_explainer(self, inferencer: FewShotInferencer) -> None:
        support = dict(ant=[draw_picture('a', 0, (64, 64)), draw_picture('b', 0, (64, 64))])
        query = draw_picture('q', 0, (64, 64))[0]
        result = inferencer(query, support, explain='signed_affex', return_logits=True)
        assert_decided(torch.from_numpy(result['logits']), 1e-4)
        assert result['explainer'] == 'signed_affex' and 0.05 < result['foreground_fraction'] < 0.95
        assert min(shot.std() for shot in result['attributions'][0]) > 0.05

        def normalized(images: list[np.ndarray]) -> torch.Tensor:
            stacked = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
            return inferencer.model.data_preprocessor.normalize(stacked)

        episode = Episode(normalized([query])[0], normalized([image for image, _ in support['ant']])[None],
                          torch.from_numpy(np.stack([mask for _, mask in support['ant']])).float()[None])
        explanation = SignedAffEx().explain(inferencer.model, episode)
        expected = explanation.attribution
        assert result['neutral'] == pytest.approx(explanation.neutral.tolist(), abs=1e-4)
        assert 0 < result['neutral'][0] < 1
        for shot, attribution in enumerate(result['attributions'][0]):
            assert attribution.dtype == np.float32
            np.testing.assert_allclose(attribution, expected[0, shot].numpy(), atol=1e-4)

    def test_original_sizes_and_different_shots(self, inferencer: FewShotInferencer,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
        labels = torch.zeros(64, 64, dtype=torch.long)
        labels[:32], labels[40:] = 1, 2
        answer(monkeypatch, inferencer, labels)
        ruler = Ruler()
        result = inferencer(QUERY, SUPPORT, explain=ruler)
        assert result['explainer'] == 'Ruler' and result['neutral'] == [None, None]
        shapes = [[shot.shape for shot in way] for way in result['attributions']]
        assert shapes == [[(60, 80), (70, 50)], [(60, 80)]]
        # Each class on its own: they differ in shots.
        assert [episode.masks.shape[:2] for episode in ruler.episodes] == [(1, 2), (1, 1)]
        assert [region.tolist() for region in ruler.regions] == [[(labels == 1).tolist()], [(labels == 2).tolist()]]
        assert ruler.episodes[1].info == dict(class_names=['bee'], support_names=[['image 1']])
        first, second = (way[0] for way in result['attributions'])
        np.testing.assert_allclose(second - first, 1, atol=1e-5)
        assert first[5, 0] == pytest.approx(0, abs=0.01) and first[5, -1] == pytest.approx(1, abs=0.01)

    def test_classes_of_equal_shots_are_one_episode(self, inferencer: FewShotInferencer,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
        labels = torch.arange(64 * 64).reshape(64, 64) % 3
        answer(monkeypatch, inferencer, labels)
        ruler = Ruler()
        inferencer(QUERY, dict(ant=SUPPORT['ant'][:1], bee=SUPPORT['bee']), explain=ruler)
        episode, = ruler.episodes
        assert episode.masks.shape[:2] == (2, 1) and episode.info['class_names'] == ['ant', 'bee']

    def test_class_that_is_not_there(self, inferencer: FewShotInferencer, monkeypatch: pytest.MonkeyPatch,
                                     tmp_path: Path) -> None:
        answer(monkeypatch, inferencer, torch.full((64, 64), 2))
        result = inferencer(QUERY, SUPPORT, out_dir=tmp_path, explain=Ruler())
        assert result['attributions'][0] is None and len(result['attributions'][1]) == 1
        answer(monkeypatch, inferencer, torch.zeros(64, 64, dtype=torch.long))
        result = inferencer(QUERY, SUPPORT, out_dir=tmp_path, explain=Ruler())
        assert result['attributions'] == [None, None] and Path(result['explanation_path']).is_file()


class TestOptions:

    def test_of_the_inferencer_and_of_the_call(self, inferencer: FewShotInferencer) -> None:
        explaining = FewShotInferencer(inferencer.model, explain=dict(type='signed_affex', aggregation='mean'))
        explaining.set_support(SUPPORT)
        assert explaining(QUERY)['explainer'] == 'signed_affex'
        assert explaining(QUERY, explain='random')['explainer'] == 'random'
        assert not {'explainer', 'attributions'} & explaining(QUERY, explain=False).keys()
        assert 'attributions' not in inferencer(QUERY, SUPPORT)

    def test_files(self, inferencer: FewShotInferencer, tmp_path: Path) -> None:
        results = inferencer([QUERY, QUERY], SUPPORT, out_dir=tmp_path, explain='random')
        paths = [Path(result['explanation_path']) for result in results]
        assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
            f'explanations/query_0000{number}.png' for number in range(2)]
        panel = np.asarray(Image.open(paths[0]))
        # Query and prediction, and three supports with one map each.
        assert panel.shape[0] > 4 * 180 and panel.shape[1] >= 2 * 248
        inferencer([QUERY], out_dir=tmp_path / 'plain')
        assert not (tmp_path / 'plain' / 'explanations').exists()

    def test_predictions_stay_the_same(self, inferencer: FewShotInferencer) -> None:
        plain = inferencer(QUERY, SUPPORT, return_logits=True)
        explained = inferencer(QUERY, return_logits=True, explain='saliency')
        np.testing.assert_array_equal(explained['logits'], plain['logits'])
        assert not any(parameter.requires_grad for parameter in inferencer.model.backbone.parameters())

    def test_names(self) -> None:
        assert build_explainer('saliency')[0] == build_explainer(Saliency())[0] == 'saliency'
        name, explainer = build_explainer(dict(type='signed_affex', use_softmax=False))
        assert name == 'signed_affex' and not explainer.use_softmax

    @pytest.mark.parametrize('explain, message', [
        ('signed_afex', 'Did you mean signed_affex'),
        (dict(type='signed_affex', colour='red'), 'no option "colour"'),
        (dict(aggregation='mean'), 'needs a "type"'),
        (7, 'name of an explainer, a config or an explainer'),
    ])
    def test_wrong_explainer(self, inferencer: FewShotInferencer, explain: object, message: str) -> None:
        with pytest.raises((ConfigError, ValueError), match=message):
            inferencer(QUERY, SUPPORT, explain=explain)

    def test_object_too_small_for_the_network(self, inferencer: FewShotInferencer,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
        image = np.zeros((400, 400, 3), np.uint8)
        mask = np.zeros((400, 400), np.uint8)
        mask[1, 1] = 1
        answer(monkeypatch, inferencer, torch.ones(64, 64, dtype=torch.long), ways=1)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            inferencer.set_support([(image, mask)])
        with pytest.raises(ValueError, match=r'Support 1 of class 1 \("image 1"\) has an empty mask'):
            inferencer(QUERY, explain='random')
