"""What ``benchmark.py`` measures: each part sets up its inputs and gives the computations to compare."""
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

import torch
from explicit_dcama import ExplicitDCAMA
from torch import Tensor

from mmfss.models import DCAMAHead, FeaturePyramid, FewShotSegmentor
from mmfss.models.heads.dcama_head import mask_values
from mmfss.registry import MODELS
from mmfss.structures import EpisodeDataSample

BACKBONES = {
    'swinb': dict(
        model=dict(
            type='mmpretrain.SwinTransformer', arch='base', img_size=384,
            stage_cfgs=dict(block_cfgs=dict(window_size=12))),
        channels=([128] * 2, [256] * 2, [512] * 18, [1024] * 2)),
    'resnet50': dict(
        model=dict(type='mmpretrain.ResNet', depth=50), channels=([256] * 3, [512] * 4, [1024] * 6, [2048] * 3)),
    'resnet18': dict(
        model=dict(type='mmpretrain.ResNet', depth=18), channels=([64] * 2, [128] * 2, [256] * 2, [512] * 2)),
    'tiny': dict(
        model=dict(type='mmpretrain.ResNet', depth=18, stem_channels=16, base_channels=16),
        channels=([16] * 2, [32] * 2, [64] * 2, [128] * 2)),
}
"""Backbones whose sizes can be measured: the config, and the channels of the maps that DCAMA reads of it."""

Computation = Callable[[], Any]
WARM_UP_SIZE = 64


@dataclass(frozen=True)
class Setting:
    """What is being measured.

    Attributes:
        backbone (str): Key of :data:`BACKBONES`.
        shots (int): Supports per episode, K.
        size (int): Side of the images in pixels.
        device (str): 'cpu' or 'cuda'.
        threads (int): Threads of a CPU computation.
        batch_size (int): Episodes at a time, B.
    """
    backbone: str
    shots: int
    size: int
    device: str = 'cpu'
    threads: int = 1
    batch_size: int = 1


@dataclass
class HeadInputs:
    """Both heads, with shared weights, and random features of the sizes of a backbone."""
    head: DCAMAHead
    explicit: ExplicitDCAMA
    query: FeaturePyramid
    support: FeaturePyramid
    masks: Tensor

    @classmethod
    def of(cls, setting: Setting, train: bool = False) -> 'HeadInputs':
        """Draw weights and features: standard normal, masks one half foreground."""
        torch.manual_seed(0)
        channels = BACKBONES[setting.backbone]['channels']
        head = DCAMAHead(channels)
        explicit = ExplicitDCAMA(head).to(setting.device).train(train)

        def pyramid(batch: int) -> FeaturePyramid:
            sides = [setting.size // stride for stride in (4, 8, 16, 32)]
            return FeaturePyramid(tuple(
                tuple(torch.randn(batch, width, side, side, device=setting.device) for width in level)
                for level, side in zip(channels, sides)))

        batch, shots, side = setting.batch_size, setting.shots, setting.size
        masks = (torch.rand(batch, shots, side, side, device=setting.device) > 0.5).float()
        return cls(head, explicit, pyramid(batch), pyramid(batch * shots), masks)

    def streamed_logits(self) -> Tensor:
        """By the head of this package, supports encoded anew."""
        return self.head(self.query, self.head.encode_support(self.support, self.masks))

    def explicit_logits(self) -> Tensor:
        """By the plain implementation."""
        return self.explicit(self.query, self.support, self.masks)


def attention(setting: Setting) -> dict[str, Computation]:
    """Attention and aggregation alone: from the projected tokens of all layers to their coarse masks."""
    inputs = HeadInputs.of(setting)
    head, explicit, masks = inputs.head, inputs.explicit, inputs.masks
    with torch.no_grad():
        encoding = head.encode_support(inputs.support, masks)
        affinities = list(head.match(inputs.query, encoding))

    @torch.no_grad()
    def run_explicit() -> list[Tensor]:
        return [
            explicit.coarse_mask(i, a.query, a.key, masks, a.query_size, a.support_size[1:])
            for i, a in enumerate(affinities)
        ]

    @torch.no_grad()
    def run_streamed() -> list[Tensor]:
        values = {size: mask_values(masks, size[1:]) for size in dict.fromkeys(encoding.sizes)}
        encoding.masks = [values[size] for size in encoding.sizes]
        return [head.aggregate(affinity, encoding) for affinity in affinities]

    return dict(explicit=run_explicit, streamed=run_streamed)


def head(setting: Setting) -> dict[str, Computation]:
    """The whole head: from features to logits."""
    inputs = HeadInputs.of(setting)
    return dict(explicit=torch.no_grad()(inputs.explicit_logits), streamed=torch.no_grad()(inputs.streamed_logits))


def head_step(setting: Setting) -> dict[str, Computation]:
    """Forward and backward pass of the whole head in training, with dropout."""
    inputs = HeadInputs.of(setting, train=True)
    target = torch.randint(2, (setting.batch_size, setting.size, setting.size), device=setting.device)

    def step(logits: Callable[[], Tensor]) -> None:
        inputs.head.zero_grad()
        inputs.head.loss(logits(), target)['loss_ce'].backward()

    return dict(explicit=partial(step, inputs.explicit_logits), streamed=partial(step, inputs.streamed_logits))


HEAD_PARTS = dict(attention=attention, head=head, head_step=head_step)
"""Parts that compare two heads: a function of the setting that gives the computations 'explicit' and 'streamed'."""


def prepared(part: str, name: str, setting: Setting) -> Computation:
    """One computation of a part, ready to be measured in a fresh process.

    Args:
        part (str): Key of :data:`HEAD_PARTS`.
        name (str): 'explicit' or 'streamed'.
        setting (Setting): The sizes.
    """
    torch.set_num_threads(setting.threads)
    small = Setting(setting.backbone, setting.shots, WARM_UP_SIZE, setting.device, setting.threads)
    HEAD_PARTS[part](small)[name]()
    return HEAD_PARTS[part](setting)[name]


class WholeModel:
    """A segmentor with random weights on random images."""

    def __init__(self, setting: Setting) -> None:
        torch.manual_seed(0)
        backbone = BACKBONES[setting.backbone]['model']
        self.model: FewShotSegmentor = MODELS.build(
            dict(type='FewShotSegmentor', backbone=backbone, head=dict(type='DCAMAHead')))
        self.model.to(setting.device).eval()
        batch, shots, side = setting.batch_size, setting.shots, setting.size
        self.query = torch.randn(batch, 3, side, side, device=setting.device)
        self.support = torch.randn(batch, 1, shots, 3, side, side, device=setting.device)
        self.masks = (torch.rand(batch, 1, shots, side, side, device=setting.device) > 0.5).float()
        self.target = torch.randint(2, (batch, side, side), device=setting.device)
        self.device = torch.device(setting.device).type

    @torch.no_grad()
    def encode(self) -> Any:
        """Encode the supports."""
        return self.model.encode_support(self.support, self.masks)

    def reuse(self) -> dict[str, Computation]:
        """Segment one query with its supports encoded anew, or encoded before."""
        encoding = self.encode()
        return dict(
            anew=torch.no_grad()(lambda: self.model.logits(self.query, self.support, self.masks)),
            encoded=torch.no_grad()(lambda: self.model.logits(self.query, encoding)))

    def training(self, bf16: bool) -> dict[str, Computation]:
        """One training step by the paper's recipe, and the backbone's share of it."""
        self.model.train()
        weights = self.model.head.parameters()
        optimizer = torch.optim.SGD(weights, lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)
        images = torch.cat((self.query, self.support.flatten(0, 2)))
        precision = partial(torch.autocast, self.device, torch.bfloat16, enabled=bf16)

        def step() -> None:
            optimizer.zero_grad()
            with precision():
                logits = self.model.logits(self.query, self.support, self.masks)
                loss = self.model.head.loss(logits, self.target)['loss_ce']
            loss.backward()
            optimizer.step()

        def backbone() -> None:
            with precision():
                self.model.extract_feat(images)

        return dict(step=step, backbone=backbone)


def episode(size: tuple[int, int], shots: int) -> dict[str, Any]:
    """A random packed batch of one episode, as a data loader gives it."""
    sample = EpisodeDataSample()
    sample.support_sem_seg = torch.randint(2, (1, shots, *size), dtype=torch.uint8)
    query = torch.randint(256, (3, *size), dtype=torch.uint8)
    support = torch.randint(256, (1, shots, 3, *size), dtype=torch.uint8)
    return dict(inputs=dict(query=[query], support=[support]), data_samples=[sample])
