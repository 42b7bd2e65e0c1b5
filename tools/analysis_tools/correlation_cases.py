"""HSNet and DMTNet for ``benchmark.py``: whole predictions, from images, against plain ways to compute the same."""
from typing import Any

import torch
from benchmark_cases import BACKBONES, Computation, Setting
from explicit_correlations import ExplicitDMTNet, ExplicitHSNet
from torch import Tensor, nn

from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS

WARM_UP_SIDE = 128


class CorrelationInputs:
    """A model with random weights, and one random episode; every support shows a disc of an eighth of the pixels.

    Args:
        head (str): Type of the head.
        setting (Setting): The sizes.
    """

    def __init__(self, head: str, setting: Setting) -> None:
        torch.manual_seed(0)
        self.model: FewShotSegmentor = MODELS.build(dict(
            type='FewShotSegmentor', backbone=BACKBONES[setting.backbone]['model'], features=dict(num_levels=3),
            head=dict(type=head)))
        self.model.to(setting.device).eval()
        shots, side, device = setting.shots, setting.size, setting.device
        self.query = torch.randn(1, 3, side, side, device=device)
        self.support = torch.randn(1, 1, shots, 3, side, side, device=device)
        axis = torch.linspace(-1, 1, side, device=device)
        disc = (axis[:, None]**2 + axis**2 < 0.5 / torch.pi).float()
        self.masks = disc.expand(1, 1, shots, side, side).contiguous()

    def prediction(self) -> Tensor:
        """By this package: all supports at once."""
        return self.model.logits(self.query, self.support, self.masks)

    def shot_by_shot(self, explicit: nn.Module) -> list[Any]:
        """By a plain implementation, a whole prediction for every support."""
        supports = zip(self.support[0, 0], self.masks[0, 0])
        return [explicit(self.query, support[None], mask[None]) for support, mask in supports]

    def both_sides(self) -> Tensor:
        """Logits of foreground and background, as in training."""
        query, encoding = self.model.encode(self.query, self.support, self.masks)
        return self.model.head.logits_of_sides(query, encoding.ways[0], 2)


def hsnet(setting: Setting) -> dict[str, Computation]:
    """K shots: the query's features and all correlations anew for every support, or only what differs."""
    inputs = CorrelationInputs('HSNetHead', setting)
    literal = ExplicitHSNet(inputs.model)

    @torch.no_grad()
    def explicit() -> Tensor:
        shots = torch.stack(inputs.shot_by_shot(literal), dim=1)
        return inputs.model.head.shot_rule(shots)

    return dict(explicit=explicit, streamed=torch.no_grad()(inputs.prediction))


def dmtnet(setting: Setting) -> dict[str, Computation]:
    """All features transformed, foreground and background; or coordinates, for a prediction and for both sides."""
    inputs = CorrelationInputs('DMTNetHead', setting)
    literal = ExplicitDMTNet(inputs.model)
    return dict(
        explicit=torch.no_grad()(lambda: inputs.shot_by_shot(literal)),
        streamed=torch.no_grad()(inputs.prediction),
        both=torch.no_grad()(inputs.both_sides))


CORRELATION_PARTS = dict(hsnet=hsnet, dmtnet=dmtnet)
"""Parts that compare whole predictions: functions of the setting that give 'explicit', 'streamed', and maybe 'both'."""


def prepared_correlation(part: str, name: str, setting: Setting) -> Computation:
    """One computation of a part, ready to be measured in a fresh process.

    Args:
        part (str): Key of :data:`CORRELATION_PARTS`.
        name (str): Which of its computations.
        setting (Setting): The sizes.
    """
    torch.set_num_threads(setting.threads)
    small = Setting(setting.backbone, setting.shots, WARM_UP_SIDE, setting.device, setting.threads)
    CORRELATION_PARTS[part](small)[name]()
    return CORRELATION_PARTS[part](setting)[name]
