import sys
from math import isnan

import numpy as np
import pytest
import torch

from mmfss.evaluation import Infidelity, PerturbedEpisode
from mmfss.evaluation.attribution.infidelity import infidelity, overlap, region_change, superpixels
from mmfss.models import FewShotSegmentor
from mmfss.structures import Episode
from tests.references.seeded import seeded_image, seeded_mask
from tests.tiny.model import build_tiny_model

SIZE = (64, 96)


class TestFormula:

    def test_overlap(self) -> None:
        attribution = torch.tensor([[[[0., 5., 10.]]]])
        change = torch.zeros(1, 1, 3, 1, 3)
        change[..., 2] = 7
        # The last pixel: attribution 1, change 1 in all channels; the others 0: one third.
        assert overlap(attribution, change) == pytest.approx(1 / 3)
        assert overlap(attribution, -change) == pytest.approx((0 + 0.5 + 0) / 3)
        assert overlap(attribution, torch.zeros_like(change)) == 0

    def test_region_change(self) -> None:
        original = torch.zeros(2, 1, 2)
        logits = torch.tensor([[[1., -3.]], [[0., 4.]]])
        region = torch.tensor([[[True, False]], [[True, True]], [[False, False]]])
        one, both, none = region_change(logits, original, region).tolist()
        assert (one, both) == (0.5, 2.) and isnan(none)

    def test_mean_square(self) -> None:
        assert infidelity([1., 2.], [3., 2.]) == 2
        # beta = (3 + 4) / (1 + 4) = 1.4: errors 1.6 and -0.8.
        assert infidelity([1., 2.], [3., 2.], normalize=True) == pytest.approx(1.6)
        assert infidelity([0., 0.], [1., 3.], normalize=True) == 5
        assert infidelity([2., 4.], [1., 2.], normalize=True) == 0


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_tiny_model()


@pytest.fixture(scope='module')
def episode() -> Episode:
    images = torch.from_numpy(seeded_image('images', (5, 3, *SIZE)))
    return Episode(images[0], images[1:].unflatten(0, (2, 2)), torch.from_numpy(seeded_mask('masks', (2, 2, *SIZE))))


class TestInfidelity:

    OPTIONS = dict(num_perturbations=3, num_segments=40, share=0.1)

    def attribution(self) -> torch.Tensor:
        return torch.from_numpy(seeded_image('attribution', (2, 2, *SIZE)))

    def region(self) -> torch.Tensor:
        return torch.from_numpy(seeded_mask('region', (2, *SIZE))) > 0

    @torch.no_grad()
    def test_equals_the_formula(self, model: FewShotSegmentor, episode: Episode) -> None:
        metric = Infidelity(**self.OPTIONS)
        subject = PerturbedEpisode(model, episode)
        value = metric.measure(subject, self.attribution(), self.region()).value
        blanked = metric._blanked(subject)
        assert blanked.shape == (3, 2, 2, *SIZE) and blanked.dtype == torch.bool
        assert len({pixels.sum().item() for pixels in blanked.flatten(0, 2)}) > 3
        original = model.logits(episode.query[None], episode.support[None], episode.masks[None])
        errors = []
        for way in range(2):
            for pixels in blanked:
                support = torch.where(pixels[:, :, None], 0., episode.support)
                logits = model.logits(episode.query[None], support[None], episode.masks[None])
                b = (logits - original)[0].abs()[:, self.region()[way]].mean()
                phi = torch.zeros(2, 2, *SIZE)
                phi[way] = self.attribution()[way]
                phi = (phi - phi.min()) / (phi.max() - phi.min())
                change = episode.support - support
                change = (change - change.min()) / (change.max() - change.min())
                errors.append(float(((phi[:, :, None] * change).mean() - b)**2))
        assert value == pytest.approx(np.mean(errors), rel=1e-4) and value > 0

    def test_perturbations_are_predicted_once(
            self, model: FewShotSegmentor, episode: Episode, monkeypatch: pytest.MonkeyPatch) -> None:
        subject = PerturbedEpisode(model, episode)
        first = Infidelity(**self.OPTIONS).measure(subject, self.attribution(), self.region())
        monkeypatch.setattr(subject, 'scan', lambda states: pytest.fail('predicted again'))
        metric = Infidelity(**self.OPTIONS)
        assert metric.measure(subject, self.attribution(), self.region()) == first
        assert metric.measure(subject, -self.attribution(), self.region()) != first
        normalized = Infidelity(normalize=True, **self.OPTIONS).measure(subject, self.attribution(), self.region())
        assert 0 <= normalized.value < first.value

    def test_drawn_segments(self, model: FewShotSegmentor, episode: Episode) -> None:
        assert superpixels(episode.support[0, 0], 40, 10.).shape == SIZE
        found = [len(np.unique(superpixels(image, 40, 10.))) for image in episode.support.flatten(0, 1)]
        assert max(found) < 40
        subject = PerturbedEpisode(model, episode)

        def blanked(**options) -> np.ndarray:
            return Infidelity(num_segments=40, **options)._blanked(subject).flatten(1, 2).numpy()

        assert blanked(num_perturbations=1, share=1.).all()
        one = blanked(num_perturbations=20, share=0.01)
        some = blanked(num_perturbations=20, share=0.01, drawn_from='requested')
        # One superpixel is always there; one of 40 numbers sometimes is not.
        assert one.any((2, 3)).all() and not some.any((2, 3)).all() and some.any()
        assert not np.array_equal(one, blanked(num_perturbations=20, share=0.01, seed=1))

    def test_nan(self, model: FewShotSegmentor, episode: Episode) -> None:
        subject = PerturbedEpisode(model, episode)
        metric = Infidelity(**self.OPTIONS)
        assert isnan(metric.measure(subject, self.attribution() * float('nan'), self.region()).value)
        region = self.region()
        region[1] = False
        assert isnan(metric.measure(subject, self.attribution(), region).value)

    def test_missing_package(self, episode: Episode, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, 'skimage.segmentation', None)
        with pytest.raises(ImportError, match='scikit-image.*pip install'):
            superpixels(episode.support[0, 0], 12, 10.)

    @pytest.mark.parametrize('options, message', [
        (dict(num_perturbations=0), 'num_perturbations must be at least 1'),
        (dict(num_segments=0), 'num_segments must be at least 1'),
        (dict(share=0.), r'share must lie in \(0, 1\]'),
        (dict(drawn_from='all'), "'existing' or 'requested'"),
    ])
    def test_errors(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Infidelity(**options)
