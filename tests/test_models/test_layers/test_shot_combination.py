import pytest
import torch
from torch import Tensor

from mmfss.models.layers import SHOT_RULES, find_shot_rule
from mmfss.models.layers.shot_combination import vote
from tests.references.correlations import load
from tests.references.seeded import seeded_array


def explicit_vote(logits: Tensor, strict: bool = False) -> Tensor:
    """The published rule, in its own words: count masks, divide by the largest count, compare with a half."""
    votes = logits.argmax(2).sum(1)
    most = votes.flatten(1).amax(1).clamp(min=1)
    share = votes / most.view(-1, 1, 1)
    return share > 0.5 if strict else share >= 0.5


@pytest.mark.parametrize('shots', [1, 2, 3, 5])
def test_reference(shots: int) -> None:
    """Votes of samples with a clear majority, all background, all foreground, and few votes."""
    expected = load('hsnet', 'units')
    logits = torch.from_numpy(seeded_array('vote_logits', (4, 5, 2, 12, 12), 0))
    logits[1, :, 0] += 2
    logits[2, :, 0] += 50
    logits[3, :, 1] += 2.5
    assert vote(logits[:, :shots]).argmax(1).tolist() == expected[f'vote_pred_{shots}'].tolist()
    assert logits.argmax(2).sum(1).tolist() == expected['vote_count_5'].tolist()


@pytest.mark.parametrize('strict', [False, True])
@pytest.mark.parametrize('shots', [1, 2, 3, 4, 5, 7])
def test_vote_is_the_published_rule(shots: int, strict: bool) -> None:
    generator = torch.Generator().manual_seed(shots)
    logits = torch.randn(6, shots, 2, 9, 9, generator=generator)
    # From samples in which hardly anything is foreground to those in which nearly everything is.
    logits[:, :, 0] += torch.linspace(-2, 3, 6).view(-1, 1, 1, 1)
    logits[0, :, 0, 0] = logits[0, :, 1, 0]
    assert torch.equal(vote(logits, strict).argmax(1) == 1, explicit_vote(logits, strict))


def test_voted_logits_are_those_of_a_shot() -> None:
    logits = torch.tensor([[[0., 3.], [0., 1.], [0., -2.]]]).view(1, 3, 2, 1, 1).requires_grad_()
    # Two votes of at most two: one is needed, so the shot with the largest margin decides.
    out = vote(logits)
    assert out.flatten().tolist() == [0, 3]
    out.sum().backward()
    assert logits.grad.flatten().tolist() == [1, 1, 0, 0, 0, 0]


def test_other_rules() -> None:
    logits = torch.tensor([[[1., 0.], [0., 4.]]]).view(1, 2, 2, 1, 1)
    assert SHOT_RULES['mean'](logits).flatten().tolist() == [0.5, 2]
    assert SHOT_RULES['max'](logits).flatten().tolist() == [1, 4]
    assert SHOT_RULES['strict_vote'](logits).flatten().tolist() == [0, 4]
    with pytest.raises(ValueError, match="Unknown rule 'sum'.*known: vote, strict_vote, mean, max"):
        find_shot_rule('sum')
