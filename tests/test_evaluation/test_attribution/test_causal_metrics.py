from dataclasses import replace
from math import isnan
from typing import Any

import pytest
import torch

from mmfss.evaluation import InsertionDeletion, InsertionDeletionGap, PerturbedEpisode, SupportRanking
from mmfss.models import FewShotSegmentor
from mmfss.registry import METRICS
from mmfss.structures import Episode
from tests.references.seeded import seeded_image, seeded_mask
from tests.test_evaluation.test_attribution.toy import predicted, row_subject, rows
from tests.tiny.model import build_tiny_model

# The two right pixels of four are the object, in support and query.
MASK, TARGET = [0, 0, 1, 1], [0, 0, 1, 1]
GOOD, BAD = [0., 1., 3., 2.], [3., 2., 1., 0.]


def curve(metric: Any, attribution: list[float], **kwargs: Any) -> list[float]:
    subject = row_subject([[MASK]], TARGET, **kwargs)
    return metric.measure(subject, rows([[attribution]]), predicted(subject)).curve


class TestByHand:

    @pytest.mark.parametrize('measure', ['miou', 'confidence'])
    def test_insertion_and_deletion(self, measure: str) -> None:
        options = dict(measure=measure, num_steps=4)
        assert curve(InsertionDeletion('ins', **options), GOOD) == pytest.approx([0, 0.5, 1, 1, 1])
        assert curve(InsertionDeletion('ins', **options), BAD) == pytest.approx([0, 0, 0, 0.5, 1])
        assert curve(InsertionDeletion('del', **options), GOOD) == pytest.approx([1, 0.5, 0, 0, 0])
        assert curve(InsertionDeletion('del', **options), BAD) == pytest.approx([1, 1, 1, 0.5, 0])

    def test_values(self) -> None:
        subject = row_subject([[MASK]], TARGET)
        good, region = rows([[GOOD]]), predicted(subject)
        values = {
            name: InsertionDeletion(mode, num_steps=4, **options).measure(subject, good, region).value
            for name, mode, options in (
                ('iauc', 'ins', {}), ('dauc', 'del', {}), ('skip', 'ins', dict(skip_empty=True)),
                ('half', 'ins', dict(percentage=0.5)), ('loss', 'ins', dict(loss=True)))
        }
        assert values == pytest.approx(dict(iauc=0.75, dauc=0.25, skip=2.75 / 3, half=0.375, loss=1 - 2.5 / 4))
        gap = InsertionDeletionGap(num_steps=4).measure(subject, good, region)
        assert gap.value == pytest.approx(0.5) and gap.curve is None

    @pytest.mark.parametrize('attribution, loss', [(GOOD, 0.), (BAD, 1.), ([0, 3, 2, 1], 0.5)])
    def test_loss_at_half(self, attribution: list[float], loss: float) -> None:
        subject = row_subject([[MASK]], TARGET)
        metric = InsertionDeletion(num_steps=1, percentage=0.5, loss=True, skip_empty=True)
        measured = metric.measure(subject, rows([[attribution]]), predicted(subject))
        assert measured.value == pytest.approx(loss) and len(measured.curve) == 2 and measured.curve[1] == 1

    def test_steps(self) -> None:
        assert curve(InsertionDeletion(step=3), GOOD) == [0, 1, 1]
        scaled = [0., 0.4, 1., 0.6]
        assert curve(InsertionDeletion(threshold_step=0.5), scaled) == [0, 1, 1]
        # The reference never puts back the pixel of value 1, half of the object.
        assert curve(InsertionDeletion(threshold_step=0.5, skip_top=True), scaled) == [0, 0.5, 0.5]
        assert curve(InsertionDeletion(threshold_step=0.5, skip_top=True, loss=True), scaled) == [0, 0.5, 0.5]

    def test_top_channel_can_be_background(self) -> None:
        subject = row_subject([[MASK]], TARGET)
        region = rows([[1, 1, 1, 0]], torch.bool)
        follow = dict(mode='del', measure='confidence', num_steps=1)
        own, top = (
            InsertionDeletion(channel=channel, **follow).measure(subject, rows([[GOOD]]), region).curve
            for channel in ('class', 'top'))
        assert own == pytest.approx([1 / 3, 0]) and top == pytest.approx([2 / 3, 1])

    def test_ignored_pixels(self) -> None:
        subject = row_subject([[MASK]], [0, 0, 1, 255])
        metric = InsertionDeletion(num_steps=4)
        assert metric.measure(subject, rows([[GOOD]]), predicted(subject)).curve == [0, 1, 1, 1, 1]

    def test_supports_are_ranked(self) -> None:
        """Three shots, each knows one pixel of the object; a shot is worth the mean of its map."""
        masks = [[[0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]]
        subject = row_subject(masks, [0, 1, 1, 1])
        attribution = rows([[[0, 0, 0, 4], [2, 2, 2, 2], [0, 0, 0, 0]]])
        region = predicted(subject)
        ins, dele = (SupportRanking(mode).measure(subject, attribution, region) for mode in ('ins', 'del'))
        assert ins.curve == pytest.approx([0, 2 / 3, 1, 1]) and dele.curve == pytest.approx([1, 1 / 3, 0, 0])
        assert ins.value == pytest.approx((2 / 3 + 1 + 0.5) / 3)
        loss = SupportRanking(loss=True, skip_empty=True).measure(subject, attribution, region)
        assert loss.value == pytest.approx(1 - (2 / 3 + 1) / 2)

    def test_two_ways(self) -> None:
        """Class 1 is right at once, class 2 last."""
        masks = [[[1, 0, 0, 0]], [[0, 0, 0, 1]]]
        subject = row_subject(masks, [1, 0, 0, 2])
        attribution, region = rows([[[4, 3, 2, 1]], [[4, 3, 2, 1]]]), predicted(subject)
        every = InsertionDeletion(num_steps=4).measure(subject, attribution, region)
        # Two of eight pixels a step: class 2's own four come first when it is scored.
        assert every.curve == pytest.approx([0, 0.5, 1, 1, 1])
        own = InsertionDeletion(num_steps=4, supports='own').measure(subject, attribution, region)
        assert own.curve == pytest.approx([0, 0.5, 0.5, 0.5, 1])
        confident = InsertionDeletion(num_steps=4, measure='confidence', supports='own')
        assert confident.measure(subject, attribution, region).curve == pytest.approx(own.curve)

    def test_other_supports_stay_with_own(self) -> None:
        masks = [[[1, 1, 0, 0]], [[0, 1, 1, 1]]]
        subject = row_subject(masks, [1, 1, 0, 2])
        metric = InsertionDeletion(num_steps=2, supports='own')
        first, _, last = metric.replay(subject, rows([[[1, 1, 1, 1]]] * 2), predicted(subject), way=0)
        assert first.masks[0].sum() == 0 and torch.equal(first.masks[1], subject.episode.masks[1])
        assert torch.equal(last.support, subject.episode.support)


class TestSharing:

    def scanned(self, subject: PerturbedEpisode, monkeypatch: pytest.MonkeyPatch) -> list:
        states: list = []
        scan = subject.scan
        monkeypatch.setattr(subject, 'scan', lambda new: scan(states.append(state) or state for state in new))
        return states

    def test_states_are_predicted_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        subject = row_subject([[MASK]], TARGET)
        states, region = self.scanned(subject, monkeypatch), predicted(subject)
        for metric, attribution, new in (
                (InsertionDeletion(num_steps=2), GOOD, 3),
                (InsertionDeletion(num_steps=2, measure='confidence'), GOOD, 0),
                (InsertionDeletion(num_steps=1, percentage=0.5, loss=True, skip_empty=True), GOOD, 0),
                # Both ends are known; half put back is another state than half taken away.
                (InsertionDeletion('del', num_steps=2), GOOD, 1),
                (InsertionDeletion(num_steps=2), BAD, 1),
                (InsertionDeletion(num_steps=2, substrate='random'), GOOD, 2),
                (InsertionDeletion(num_steps=2, substrate=dict(kind='random', seed=1)), GOOD, 2)):
            states.clear()
            metric.measure(subject, rows([[attribution]]), region)
            assert len(states) == new, metric.name
        states.clear()
        InsertionDeletion(num_steps=2).measure(subject, rows([[GOOD]]), ~region)
        assert len(states) == 3

    def test_states_of_several_maps_are_predicted_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        metric = InsertionDeletion('ins', num_steps=4)
        maps = [rows([[GOOD]]), rows([[BAD]]), rows([[[0., 3., 1., 2.]]])]
        alone = [row_subject([[MASK]], TARGET) for _ in maps]
        expected = [metric.measure(subject, each, predicted(subject)) for subject, each in zip(alone, maps)]
        subject, batches = row_subject([[MASK]], TARGET, batch_size=16), []
        region, predict = predicted(subject), PerturbedEpisode.logits
        monkeypatch.setattr(PerturbedEpisode, 'logits', lambda self, *states: (
            batches.append(len(states[0])), predict(self, *states))[1])
        metric.prepare(subject, maps, region)
        assert batches == [3 * 3 + 2]  # three states of each map, and two that all maps share
        assert [metric.measure(subject, each, region) for each in maps] == expected
        assert len(batches) == 1

    def test_result_does_not_depend_on_what_was_measured_before(self) -> None:
        metrics = [InsertionDeletion('del', num_steps=3), InsertionDeletion(num_steps=2), SupportRanking()]
        shared = row_subject([[MASK, MASK]], TARGET)
        for metric in metrics:
            for attribution in (rows([[GOOD, BAD]]), rows([[BAD, BAD]])):
                alone = row_subject([[MASK, MASK]], TARGET)
                assert metric.measure(shared, attribution, predicted(shared)) == metric.measure(
                    alone, attribution, predicted(alone))


class TestNaN:

    def test_attribution(self) -> None:
        subject = row_subject([[MASK]], TARGET)
        attribution = rows([[[0, float('nan'), 1, 2]]])
        for metric in (InsertionDeletion(num_steps=2), SupportRanking(), InsertionDeletionGap(num_steps=2)):
            measured = metric.measure(subject, attribution, predicted(subject))
            assert isnan(measured.value) and measured.to_record() == dict(value=None, curve=None)

    def test_empty_region(self) -> None:
        subject = row_subject([[MASK]], TARGET)
        empty = torch.zeros(1, 1, 4, dtype=torch.bool)
        measured = InsertionDeletion(measure='confidence', num_steps=1).measure(subject, rows([[GOOD]]), empty)
        assert isnan(measured.value) and measured.to_record() == dict(value=None, curve=[None, None])
        # The labels of the query need no region.
        assert InsertionDeletion(num_steps=1).measure(subject, rows([[GOOD]]), empty).value == 0.5

    def test_logits(self) -> None:
        """A model that fails on empty masks: NaN, unless the empty state is skipped."""
        for measure in ('miou', 'confidence'):
            subject = row_subject([[MASK]], TARGET, broken=True)
            region, good = predicted(subject), rows([[GOOD]])
            assert isnan(InsertionDeletion(measure=measure, num_steps=2).measure(subject, good, region).value)
            skipped = InsertionDeletion(measure=measure, num_steps=2, skip_empty=True)
            assert skipped.measure(subject, good, region).value == pytest.approx(1)


@pytest.fixture(scope='module')
def model() -> FewShotSegmentor:
    return build_tiny_model()


class TestOnAModel:
    """Two ways, two shots, not square: against a plain loop, one prediction per state."""

    SIZE = (32, 64)

    @pytest.fixture
    def episode(self) -> Episode:
        images = torch.from_numpy(seeded_image('images', (5, 3, *self.SIZE)))
        masks = torch.from_numpy(seeded_mask('masks', (2, 2, *self.SIZE)))
        target = torch.from_numpy(seeded_mask('target', self.SIZE)).long()
        target[16:] *= 2
        return Episode(images[0], images[1:].unflatten(0, (2, 2)), masks, target)

    def literal(self, model: FewShotSegmentor, episode: Episode, attribution: torch.Tensor, region: torch.Tensor,
                mode: str, measure: str) -> list[float]:
        curves = []
        for way in range(2):
            values = torch.zeros(2, 2, *self.SIZE)
            values[way] = attribution[way]
            order = sorted(range(values.numel()), key=lambda i, v=values.flatten().tolist(): -v[i])
            scores = []
            for boundary in (0, values.numel() // 3, 2 * values.numel() // 3, values.numel()):
                changed = torch.zeros(values.numel(), dtype=torch.bool)
                changed[order[:boundary]] = True
                kept = (changed if mode == 'ins' else ~changed).view_as(values)
                logits = model.logits(episode.query[None], (episode.support * kept[:, :, None])[None],
                                      (episode.masks * kept)[None])[0]
                if measure == 'confidence':
                    scores.append(float(logits.softmax(0)[way + 1][region[way]].mean()))
                else:
                    pred, true = logits.argmax(0) == way + 1, episode.target == way + 1
                    scores.append(float((pred & true).sum() / (pred | true).sum()))
            curves.append(scores)
        return [sum(scores) / 2 for scores in zip(*curves)]

    @pytest.mark.parametrize('mode', ['ins', 'del'])
    @pytest.mark.parametrize('measure', ['confidence', 'miou'])
    @torch.no_grad()
    def test_equals_a_plain_loop(self, model: FewShotSegmentor, episode: Episode, mode: str, measure: str) -> None:
        attribution = torch.from_numpy(seeded_image('attribution', (2, 2, *self.SIZE)))
        region = torch.stack([episode.target == 1, episode.target == 2])
        expected = self.literal(model, episode, attribution, region, mode, measure)
        for batch_size in (1, 8):
            subject = PerturbedEpisode(model, episode, batch_size)
            measured = InsertionDeletion(mode, measure, num_steps=3).measure(subject, attribution, region)
            assert measured.curve == pytest.approx(expected, abs=1e-5 if measure == 'confidence' else 2e-3)
        assert max(expected) - min(expected) > 1e-4

    @torch.no_grad()
    def test_replay_shows_one_state(self, model: FewShotSegmentor, episode: Episode) -> None:
        subject = PerturbedEpisode(model, episode)
        attribution = torch.from_numpy(seeded_image('attribution', (2, 2, *self.SIZE)))
        region = torch.stack([episode.target == 1, episode.target == 2])
        metric = InsertionDeletion(measure='confidence', num_steps=4, skip_empty=True)
        snapshots = [list(metric.replay(subject, attribution, region, way)) for way in range(2)]
        curve = metric.measure(subject, attribution, region).curve
        assert [snapshot.num_changed for snapshot in snapshots[0]] == [2048, 4096, 6144, 8192]
        for index, pair in enumerate(zip(*snapshots)):
            assert sum(snapshot.score for snapshot in pair) / 2 == pytest.approx(curve[index], abs=1e-5)
            for snapshot in pair:
                logits = model.logits(episode.query[None], snapshot.support[None], snapshot.masks[None])[0]
                torch.testing.assert_close(snapshot.logits, logits, rtol=0, atol=1e-5)
        chosen = list(metric.replay(subject, attribution, region, 1, indices=[0, 3]))
        assert [snapshot.num_changed for snapshot in chosen] == [2048, 8192]


class TestArguments:

    @pytest.mark.parametrize('options, message', [
        (dict(mode='both'), "mode must be 'ins' or 'del', got 'both'"),
        (dict(measure='logits'), "measure must be 'miou' or 'confidence'"),
        (dict(channel='first'), "channel must be 'class' or 'top'"),
        (dict(supports='none'), "supports must be 'all' or 'own'"),
        (dict(substrate='ones'), "one of zero, random, blur, gaussian, got 'ones'"),
        (dict(substrate=dict(kind='blur', kernel_size=4)), 'odd'),
        (dict(substrate=dict(kind='blur', sigma=0)), 'sigma'),
        (dict(num_steps=0), 'num_steps must be at least 1'),
        (dict(step=0), 'step must be at least 1'),
        (dict(num_steps=5, step=3), 'got num_steps and step'),
        (dict(step=3, threshold_step=0.1), 'got step and threshold_step'),
        (dict(threshold_step=1.), 'threshold_step must lie between 0 and 1'),
        (dict(percentage=1.5), 'percentage is a share'),
        (dict(percentage=0.1, step=5), 'goes with num_steps'),
        (dict(skip_top=True), 'skip_top goes with threshold_step'),
        (dict(num_steps=1, skip_empty=True), 'single state'),
        (dict(num_steps=1, skip_empty=True, loss=True), 'percentage must be below 1'),
        (dict(name=''), 'needs a name'),
        (dict(num_replicates=-1), 'num_replicates'),
    ])
    def test_errors(self, options: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            InsertionDeletion(**options)

    def test_gap(self) -> None:
        with pytest.raises(ValueError, match='sets mode itself'):
            InsertionDeletionGap(mode='ins')

    def test_shapes_and_labels(self) -> None:
        subject = row_subject([[MASK]], TARGET)
        region = predicted(subject)
        metric = InsertionDeletion(num_steps=1)
        with pytest.raises(ValueError, match=r'shape \(N, K, H, W\) of the support masks, \(1, 1, 1, 4\)'):
            metric.measure(subject, torch.zeros(1, 4), region)
        with pytest.raises(ValueError, match=r'\(N, h, w\), \(1, 1, 4\), got \(1, 4\)'):
            metric.measure(subject, rows([[GOOD]]), region[0])
        subject = PerturbedEpisode(subject.model, replace(subject.episode, target=None))
        with pytest.raises(ValueError, match="IAUC compares .* measure='confidence'"):
            metric.measure(subject, rows([[GOOD]]), region)
        assert InsertionDeletion(num_steps=1, measure='confidence').measure(subject, rows([[GOOD]]), region).value == (
            pytest.approx(0.5))

    def test_one_support_has_no_ranking(self) -> None:
        subject = row_subject([[MASK]], TARGET)
        with pytest.raises(ValueError, match='at least two supports'):
            SupportRanking(skip_empty=True).measure(subject, rows([[GOOD]]), predicted(subject))
        assert SupportRanking().measure(subject, rows([[GOOD]]), predicted(subject)).curve == [0, 1]

    def test_half_precision_maps(self) -> None:
        subject = row_subject([[MASK]], TARGET)
        metric = InsertionDeletion(num_steps=4)
        half = metric.measure(subject, rows([[GOOD]]).half(), predicted(subject))
        assert half == metric.measure(subject, rows([[GOOD]]), predicted(subject))


@pytest.mark.parametrize('config, name, higher', [
    (dict(), 'IAUC', True),
    (dict(mode='del'), 'DAUC', False),
    (dict(mode='del', measure='confidence'), 'DAUC-confidence', False),
    (dict(num_steps=5, percentage=0.01), 'IAUC@1%', True),
    (dict(num_steps=1, percentage=0.05, loss=True, skip_empty=True), 'mIoULoss@5%', False),
    (dict(measure='confidence', percentage=0.005, loss=True), 'ConfidenceLoss@0.5%', False),
    (dict(mode='del', loss=True), 'mIoULoss-deletion', True),
    (dict(name='mine'), 'mine', True),
])
def test_names_and_direction(config: dict, name: str, higher: bool) -> None:
    metric = METRICS.build(dict(type='InsertionDeletion', **config))
    assert (metric.name, metric.higher_is_better, metric.percent) == (name, higher, True)
    if set(config) <= {'mode', 'measure'}:
        ranking = METRICS.build(dict(type='SupportRanking', **config))
        assert (ranking.name, ranking.higher_is_better) == (f'Support-{name}', higher)
