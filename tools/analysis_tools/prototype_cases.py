"""ScaleProtoSeg beside literal implementations: forward, diversity loss, push."""
import time
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from typing import Any, Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfss.models import ScaleProtoHead
from mmfss.models.losses import ClassRegions, JeffreysDiversityLoss, PrototypeEvidence
from mmfss.prototypes.search import NearestCells
from mmfss.utils.benchmark import Ratio, alternate, peak_extra_memory

Computation = Callable[[], Any]
CLASSES_IN_IMAGE = 20
"""At most; their regions are blocks."""


@dataclass(frozen=True)
class PrototypeSetting:
    """What is being measured.

    Attributes:
        classes (int): C; 4 scales of 64 channels, 3 prototypes of a class at each.
        grid (int): Side of the feature grid.
        images (int): Images of a batch or a push.
        device (str): 'cpu' or 'cuda'.
        threads (int): Threads of a CPU computation.
    """
    classes: int
    grid: int
    images: int
    device: str = 'cpu'
    threads: int = 1


class PrototypeInputs:
    """A head with random prototypes, random features and labels in blocks."""

    def __init__(self, setting: PrototypeSetting) -> None:
        torch.manual_seed(0)
        self.head = ScaleProtoHead(1, setting.classes).to(setting.device).requires_grad_(False)
        shape = (setting.images, 256, setting.grid, setting.grid)
        self.features = torch.rand(shape, device=setting.device)
        blocks = torch.stack([torch.randperm(setting.classes)[:CLASSES_IN_IMAGE] for _ in range(setting.images)])
        blocks = blocks[:, torch.arange(25) % blocks.shape[1]].view(-1, 1, 5, 5).float()
        self.labels = F.interpolate(blocks, shape[2:]).squeeze(1).long().to(setting.device)
        self.classes = self.head.proto_class.tolist()
        self.scales = self.head.proto_scale.tolist()

    def literal_distances(self) -> Tensor:
        """(B, P, h, w): every norm by a convolution with ones, once for every prototype."""
        parts = []
        for scale, part in enumerate(self.head.scale_slices):
            z = self.features[:, 64 * scale:64 * (scale + 1)]
            vectors = self.head.prototypes[part][..., None, None]
            squares = F.conv2d(z**2, torch.ones_like(vectors))
            norms = (vectors**2).sum((1, 2, 3)).view(-1, 1, 1)
            parts.append(F.relu(squares + (-2 * F.conv2d(z, vectors) + norms)))
        return torch.cat(parts, dim=1)


@torch.no_grad()
def literal_forward(inputs: PrototypeInputs) -> Tensor:
    """Logits cell by cell, (B, C, h, w)."""
    distances = inputs.literal_distances()
    similarities = torch.log((distances + 1) / (distances + inputs.head.epsilon))
    batch, count, high, wide = similarities.shape
    rows = similarities.permute(0, 2, 3, 1).reshape(-1, count)
    return F.linear(rows, inputs.head.classifier.weight).view(batch, high, wide, -1).permute(0, 3, 1, 2)


def forward(setting: PrototypeSetting) -> dict[str, Computation]:
    """Features to logits."""
    inputs = PrototypeInputs(setting)
    found, expected = inputs.head.classify(inputs.features), literal_forward(inputs)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    return dict(literal=partial(literal_forward, inputs), measured=lambda: inputs.head.classify(inputs.features))


def literal_diversity(distances: Tensor, labels: Tensor, classes: list[int], scales: list[int]) -> Tensor:
    """Jeffreys diversity image by image, class by class, pair by pair."""
    terms = []
    for maps, target in zip(distances, labels):
        for class_id in target.unique().tolist():
            mask = target == class_id
            if mask.sum() < 2:
                continue
            for scale in range(4):
                own = [p for p in range(len(classes)) if classes[p] == class_id and scales[p] == scale]
                for j, k in combinations(own, 2):
                    v = [F.log_softmax(maps[p][mask], dim=0) for p in (j, k)]
                    jeffreys = (F.kl_div(v[0], v[1], log_target=True, reduction='sum') +
                                F.kl_div(v[1], v[0], log_target=True, reduction='sum')) / 2
                    terms.append(torch.exp(-jeffreys))
    return torch.stack(terms).mean()


def diversity(setting: PrototypeSetting) -> dict[str, Computation]:
    """Distances to the gradient of the diversity loss."""
    inputs = PrototypeInputs(setting)
    head, labels = inputs.head, inputs.labels
    parts = [(10 * distances).requires_grad_() for distances in head.distances(inputs.features)]
    whole = torch.cat(parts, dim=1).detach().requires_grad_()
    loss = JeffreysDiversityLoss(loss_weight=1.)

    def literal() -> Tensor:
        value = literal_diversity(whole, labels, inputs.classes, inputs.scales)
        return torch.autograd.grad(value, whole)[0]

    def measured() -> tuple[Tensor, ...]:
        regions = ClassRegions.of(labels, setting.classes)
        evidence = PrototypeEvidence(parts, head.scale_table, regions, head.classifier.weight, head.own_prototypes,
                                     head.epsilon)
        return torch.autograd.grad(loss(evidence), parts)

    torch.testing.assert_close(torch.cat(measured(), dim=1), literal(), atol=1e-6, rtol=1e-3)
    return dict(literal=literal, measured=measured)


@torch.no_grad()
def literal_push(inputs: PrototypeInputs) -> list[tuple[int, int]]:
    """Image and cell of every prototype, image by image and prototype by prototype."""
    best = [(float('inf'), -1, -1)] * len(inputs.classes)
    for image, (features, labels) in enumerate(zip(inputs.features, inputs.labels)):
        for p, (class_id, scale) in enumerate(zip(inputs.classes, inputs.scales)):
            own = features[64 * scale:64 * (scale + 1)]
            distances = (own - inputs.head.prototypes[p][:, None, None]).square().sum(0)
            distances = distances + 1e10 * (labels != class_id)
            cell = int(distances.argmin())
            value = float(distances.flatten()[cell])
            if value < min(best[p][0], 1e9):
                best[p] = (value, image, cell)
    return [winner[1:] for winner in best]


def push(setting: PrototypeSetting) -> dict[str, Computation]:
    """Features to the winners of a push, which are the same."""
    inputs = PrototypeInputs(setting)

    def measured() -> list[tuple[int, int]]:
        search = NearestCells(inputs.head)
        search.update(inputs.head.scale_features(inputs.features), inputs.labels, range(setting.images))
        return list(zip(search.image.tolist(), search.cell.tolist()))

    if measured() != literal_push(inputs):
        raise AssertionError('The two pushes find different winners.')
    return dict(literal=partial(literal_push, inputs), measured=measured)


PROTOTYPE_PARTS = dict(proto_forward=forward, proto_diversity=diversity, proto_push=push)
"""Parts that compare a literal computation with this package's; building one checks that both give the same."""
SIZES = dict(
    proto_forward=((19, 129, 1), (150, 65, 1)), proto_diversity=((19, 33, 2), (150, 33, 2)),
    proto_push=((19, 65, 4), (150, 65, 2)))
"""Classes, side of the grid and images of each part."""
PROTOTYPE_MEANING = """\
proto_*    ScaleProtoSeg, by number of classes: forward, features -> logits; diversity, distances -> gradient of the
           loss; push, features -> the same winners; reference: literally, pair by pair, prototype by prototype"""


def prepared_prototypes(part: str, name: str, setting: PrototypeSetting) -> Computation:
    """One computation of a part, ready to be measured in a fresh process."""
    torch.set_num_threads(setting.threads)
    PROTOTYPE_PARTS[part](PrototypeSetting(5, 9, 1, setting.device, setting.threads))[name]()
    return PROTOTYPE_PARTS[part](setting)[name]


def prototype_rows(parts: list[str], repeats: int, device: str, threads: int) -> list[dict[str, Any]]:
    """Measure what ``parts`` asks for, as rows of the benchmark's table.

    Args:
        parts (list[str]): Parts of the benchmark; others are left out.
        repeats (int): Timed runs of each computation.
        device (str): 'cpu' or 'cuda'.
        threads (int): Threads of a CPU computation.
    """
    rows = []
    clock = time.process_time if device == 'cpu' and threads == 1 else time.perf_counter
    for part in (part for part in PROTOTYPE_PARTS if part in parts):
        for classes, grid, images in SIZES[part]:
            print(f'measuring {part}, {classes} classes ...', flush=True)
            setting = PrototypeSetting(classes, grid, images, device, threads)
            seconds = alternate(PROTOTYPE_PARTS[part](setting), repeats, device, clock)
            row = dict(part=part, backbone=f'{classes} classes', shots='', **asdict(setting),
                       seconds=dict(reference=seconds['literal'], measured=seconds['measured']),
                       time_ratio=asdict(Ratio.of(seconds['literal'], seconds['measured'])))
            if part == 'proto_forward':
                extra = {name: peak_extra_memory(prepared_prototypes, part, kind, setting, device=device)
                         for name, kind in (('reference', 'literal'), ('measured', 'measured'))}
                row.update(extra_bytes=extra, memory_ratio=extra['reference'] / max(1, extra['measured']))
            rows.append(row)
    return rows
