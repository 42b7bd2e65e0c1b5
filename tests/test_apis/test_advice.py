"""Advice follows from the evidence, and only from it."""
from dataclasses import replace

import numpy as np
import pytest

from mmfss.apis.advice import ClassEvidence, advise, border_share


def field(*boxes: tuple[int, int, int, int, float]) -> np.ndarray:
    """A margin of -4 with boxes (top, bottom, left, right, margin)."""
    margin = np.full((20, 20), -4.0)
    for top, bottom, left, right, value in boxes:
        margin[top:bottom, left:right] = value
    return margin


GOOD = ClassEvidence('cat', field((5, 12, 5, 12, 4.0)), support_areas=[0.1, 0.2], support_borders=[0.0, 0.1],
                     largest_cells=[1.0, 0.4], shares=[0.6, 0.4], presence=0.9)


def rules(evidence: ClassEvidence, threshold: float = 0.5) -> list[str]:
    return [advice.rule for advice in advise(evidence, threshold)]


def test_none_for_a_good_prediction() -> None:
    assert rules(GOOD) == [] == rules(replace(GOOD, shares=None, presence=None, largest_cells=None))


@pytest.mark.parametrize('changes, rule, words', [
    (dict(presence=0.4), 'absent', 'presence 0.40'),
    (dict(margin=field()), 'threshold', 'No pixel is "cat"'),
    (dict(margin=field((0, 20, 0, 15, 2.0))), 'spill', 'covers 75 % of the picture'),
    (dict(margin=field((2, 8, 2, 8, 4.0), (10, 18, 10, 18, 0.4))), 'part', 'at 68 % of the width'),
    (dict(shares=[0.2, 0.8]), 'support', '80 % of "cat" come from support 2 of 2'),
    (dict(largest_cells=[0.4, 0.7]), 'small', 'in 2 of 2 examples'),
])
def test_each_rule(changes: dict, rule: str, words: str) -> None:
    advice, = advise(replace(GOOD, **changes))
    assert advice.rule == rule and advice.class_name == 'cat' and words in advice.text


def test_bounds() -> None:
    """Halves and middles themselves give no advice."""
    assert rules(replace(GOOD, presence=0.5)) == []
    assert rules(replace(GOOD, shares=[0.75, 0.25])) == [] == rules(replace(GOOD, shares=[1.0]))
    assert rules(replace(GOOD, margin=field((0, 20, 0, 15, 2.0)), support_areas=[0.1, 0.6],
                         support_borders=[0.0, 0.6])) == []
    # A speck is no part, nor is an equally sure one.
    assert rules(replace(GOOD, margin=field((2, 12, 2, 12, 4.0), (16, 18, 16, 18, 0.4)))) == []
    assert rules(replace(GOOD, margin=field((2, 8, 2, 8, 4.0), (10, 18, 10, 18, 4.0)))) == []


@pytest.mark.parametrize('threshold', [0.5, 0.7])
def test_the_named_threshold_marks_as_much_as_the_examples(threshold: float) -> None:
    generator = np.random.default_rng(0)
    probability = generator.uniform(0.05, 0.45, (40, 40))
    margin = np.log(probability / (1 - probability)) - np.log(threshold / (1 - threshold))
    advice, = advise(replace(GOOD, margin=margin), threshold)
    assert f'the threshold {threshold:g}' in advice.text
    named = float(advice.text.split('model.threshold=')[1].split()[0])
    assert (probability > named).mean() == pytest.approx(0.15, abs=0.02)
    several, = advise(replace(GOOD, margin=margin, alone=False), threshold)
    assert 'model.threshold' not in several.text


def test_an_absent_class_needs_no_threshold() -> None:
    assert rules(replace(GOOD, margin=field(), presence=0.1)) == ['absent']


def test_border_share() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    # Corners belong to two sides.
    assert border_share(mask) == 6 / 16
