"""INSID3 for ``benchmark.py``: a causal metric beside single predictions, and the basis beside a full decomposition."""
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.evaluation import PerturbedEpisode
from mmfss.evaluation.attribution.perturbation_path import PerturbationPath
from mmfss.evaluation.attribution.substrates import Substrate
from mmfss.models import FeaturePyramid, FewShotSegmentor, INSID3Head
from mmfss.models.features.position_basis import PositionBasis
from mmfss.registry import MODELS
from mmfss.structures import Episode
from mmfss.utils.benchmark import Ratio, alternate

Computation = Callable[[], Any]
NUM_STATES = 21
WIDTH, REMOVED, GRID = 1024, 500, 64
"""DINOv3 ViT-L/16 at 1024 px, the published setting."""
ENCODER_SIDE = 256
INSID3_PART = 'insid3'
INSID3_MEANING = """\
insid3     21 states of perturbed supports, features given (ViT-L/16 at 1024 px) -> masks; reference: one by
           one, measured: the clusters of the query computed once
insid3*    an insertion path of 21 states, images (ViT-S/16 at 256 px) -> masks; reference: one by one, measured:
           by PerturbedEpisode; bound: (K + 1) / (supports changed per state), what encoding the query once can save
basis      features of a black image (1024 x 4096) -> 500 directions; reference: full SVD, measured: eigenvectors of the
           Gram matrix"""


def object_features(count: int) -> Tensor:
    """Draw features (1 + count, C, h, w): a position and noise, of a black image first, and of 12 things in blocks."""
    things = torch.randn(12, WIDTH)
    labels = F.interpolate(torch.randint(12, (1 + count, 1, 6, 6)).float(), (GRID, GRID)).long()[:, 0]
    things = things[labels].permute(0, 3, 1, 2)
    things[0] = 0
    position = F.interpolate(torch.randn(1, WIDTH, 4, 4), (GRID, GRID), mode='bilinear')
    return things + position + 0.6 * torch.randn(1 + count, WIDTH, GRID, GRID)


def fresh(pyramid: FeaturePyramid) -> FeaturePyramid:
    """Return the same features without what was computed from them."""
    return FeaturePyramid(pyramid.levels)


@dataclass
class Computations:
    """Two ways to compute the same.

    Attributes:
        sizes (str): What was measured.
        pair (dict[str, Callable]): ``reference`` and ``measured``.
        extra (dict[str, float]): Figures that belong to the result.
    """
    sizes: str
    pair: dict[str, Computation]
    extra: dict[str, float] = field(default_factory=dict)


@torch.no_grad()
def given_features(shots: int) -> Computations:
    """States whose features are known: the head alone."""
    torch.manual_seed(0)
    head = INSID3Head([[WIDTH, WIDTH - REMOVED]]).eval()
    black, *images = object_features(1 + shots)
    raw, basis = F.normalize(torch.stack(images), dim=1), PositionBasis.of_blank_image(black, REMOVED)
    query, supports = FeaturePyramid(((raw, basis.removed_from(raw, compact=True)), )).split([1, shots])
    side = 16 * GRID
    masks = torch.zeros(NUM_STATES, 1, shots, side, side)
    for state, mask in enumerate(masks):
        mask[..., 200 + 10 * state:562, 200:562] = 1  # an eighth of the image, and less

    def predict(query: FeaturePyramid, mask: Tensor) -> Tensor:
        return head.combine_shots(head(query, head.encode_support(supports, mask)), (side, side))

    def alone(count: int = NUM_STATES) -> list[Tensor]:
        return [predict(fresh(query), mask) for mask in masks[:count]]

    def together(count: int = NUM_STATES) -> list[Tensor]:
        shared = fresh(query)
        return [predict(shared, mask) for mask in masks[:count]]

    check(alone(2), together(2))
    return Computations('ViT-L/16', dict(reference=torch.no_grad()(alone), measured=torch.no_grad()(together)))


@torch.no_grad()
def with_encoder(shots: int) -> Computations:
    """States of images: encoder and head."""
    torch.manual_seed(0)
    model: FewShotSegmentor = MODELS.build(dict(
        type='FewShotSegmentor',
        backbone=dict(type='TIMMVisionTransformer', model_name='vit_small_patch16_dinov3'),
        features=dict(
            type='DebiasedFeatures', reader=dict(type='TIMMFeatures', scales=[1], indices=[-1], norm=True)),
        head=dict(type='INSID3Head'))).eval()  # yapf: disable
    images, masks = torch.randn(1 + shots, 3, ENCODER_SIDE, ENCODER_SIDE), torch.zeros(1, shots, *2 * [ENCODER_SIDE])
    masks[..., 64:192, 64:192] = 1
    episode = Episode(images[0], images[1:][None], masks)
    path = PerturbationPath(episode, torch.rand(masks.shape), 'ins', Substrate())
    stops = [int(masks.numel() * state / NUM_STATES) for state in range(NUM_STATES)]

    def states(count: int = NUM_STATES) -> Iterator[tuple[Tensor, Tensor]]:
        return (path.state((0, stop)) for stop in stops[:count])

    def alone(count: int = NUM_STATES) -> list[Tensor]:
        return [model.logits(episode.query[None], support[None], mask[None])[0] for support, mask in states(count)]

    def together(count: int = NUM_STATES) -> list[Tensor]:
        return list(PerturbedEpisode(model, episode).scan(states(count)))

    check(alone(2), together(2))
    changed = sum(float((support != episode.support).flatten(2).any(2).sum()) for support, _ in states()) / NUM_STATES
    bound = (shots + 1) / changed
    return Computations(f'ViT-S/16, bound {bound:.2f}x', dict(
        reference=torch.no_grad()(alone), measured=torch.no_grad()(together)), dict(bound=bound))


@torch.no_grad()
def basis(shots: int) -> Computations:
    """The positional directions, from an SVD as long as the image has positions, or from a Gram matrix."""
    torch.manual_seed(0)
    features = object_features(0)[0]

    def decomposed() -> Tensor:
        columns = F.normalize(features.flatten(1), dim=0)
        return torch.linalg.svd(columns - columns.mean(1, keepdim=True), full_matrices=False)[0][:, :REMOVED]

    def measured() -> Tensor:
        return PositionBasis.of_blank_image(features, REMOVED).directions

    return Computations('1024 x 4096', dict(reference=torch.no_grad()(decomposed), measured=measured))


def check(expected: list[Tensor], found: list[Tensor]) -> None:
    """Raise an error if two lists of logits differ by more than rounding.

    Raises:
        AssertionError: If they do.
    """
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a.view_as(b), b, rtol=0, atol=1e-3)


def insid3_rows(shots: list[int], repeats: int, threads: int) -> list[dict[str, Any]]:
    """Measure all three as rows of the benchmark's table, on the CPU.

    Args:
        shots (list[int]): Numbers of supports.
        repeats (int): Timed runs of each computation.
        threads (int): Threads.
    """
    rows = []
    clock = time.process_time if threads == 1 else time.perf_counter
    parts = [('insid3', given_features, k) for k in shots] + [('insid3*', with_encoder, k) for k in shots]
    for part, prepare, number in [*parts, ('basis', basis, '')]:
        print(f'measuring {part}, {number}-shot ...' if number else f'measuring {part} ...', flush=True)
        case = prepare(number)
        seconds = alternate(case.pair, repeats, 'cpu', clock)
        ratio = Ratio.of(seconds['reference'], seconds['measured'])
        rows.append(dict(part=part, backbone=case.sizes, shots=number, seconds=seconds, time_ratio=asdict(ratio),
                         **case.extra))
    return rows
