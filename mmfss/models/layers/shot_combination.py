"""Rules that combine the predictions of K supports into one."""
from typing import Callable

from torch import Tensor

from .exporting import exporting


def vote(logits: Tensor, strict: bool = False) -> Tensor:
    """Vote over shots, normalized (HSNet's K-shot test).

    A pixel gets v votes, one of each shot whose mask holds it; m is the most votes of any pixel of the sample, at least
    1. It is foreground if v / m >= 0.5. That is: if the q-th largest margin (foreground minus background logit) of the
    shots is positive, with q = ceil(m / 2). So the result is, at each pixel, the logits of the shot with that margin:
    their maximum is the vote, and they keep strength and gradient.

    Args:
        logits (Tensor): Shape (B, K, 2, H, W).
        strict (bool): Foreground only if v / m > 0.5.

    Returns:
        Tensor: Shape (B, 2, H, W).
    """
    margins = logits[:, :, 1] - logits[:, :, 0]
    votes = (margins > 0).sum(1)
    most = votes.flatten(1).amax(1).clamp(min=1)
    # Needed votes; with K = 1 strictly more than a half is one vote too.
    needed = most // 2 + 1 if strict else (most + 1) // 2
    # ONNX has no stable sort; without it, a pixel may take its logits from another shot with the same margin.
    order = (margins.topk(margins.shape[1], dim=1).indices if exporting() else
             margins.argsort(dim=1, descending=True, stable=True))
    chosen = order.gather(1, (needed - 1).view(-1, 1, 1, 1).expand(-1, 1, *margins.shape[-2:]))
    return logits.gather(1, chosen.unsqueeze(2).expand(-1, -1, 2, -1, -1)).squeeze(1)


def strict_vote(logits: Tensor) -> Tensor:
    """Vote over shots; a pixel needs more than half of the most votes (AffEx's reference implementation)."""
    return vote(logits, strict=True)


def mean(logits: Tensor) -> Tensor:
    """Average the logits over shots."""
    return logits.mean(1)


def maximum(logits: Tensor) -> Tensor:
    """Take the maximum over shots of each logit (AffEx's reference implementation of DMTNet)."""
    return logits.amax(1)


SHOT_RULES: dict[str, Callable[[Tensor], Tensor]] = dict(vote=vote, strict_vote=strict_vote, mean=mean, max=maximum)
"""Rules by name: functions from (B, K, 2, H, W) to (B, 2, H, W)."""


def find_shot_rule(name: str) -> Callable[[Tensor], Tensor]:
    """Look up a rule by its name.

    Raises:
        ValueError: If there is none of the name; it lists those there are.
    """
    if name not in SHOT_RULES:
        raise ValueError(f'Unknown rule {name!r} for several shots (`shots`); known: {", ".join(SHOT_RULES)}.')
    return SHOT_RULES[name]
