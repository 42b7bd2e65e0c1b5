"""AffEx for ``benchmark.py``: the literal computation or the streamed one, the ablation of layers, the whole cost."""
from functools import partial
from typing import Any

import torch
from benchmark_cases import WARM_UP_SIZE, Computation, HeadInputs, Setting, WholeModel
from explicit_affex import layer_contribution, layer_effects
from torch import Tensor

from mmfss.explainers import AffEx, Contributions
from mmfss.explainers.affex import MaskedAffEx, SignedAffEx, SmoothedAffEx
from mmfss.explainers.contributions import RegionWeights, region_shares
from mmfss.models.affinities.affinity import CHUNK_SIZE, Affinity, chunks
from mmfss.models.heads.matched_way import MatchedWay
from mmfss.structures import Episode


def disc(setting: Setting, share: float = 1 / 8) -> Tensor:
    """A region (1, H, W): the disc in the middle that covers a share of the pixels."""
    axis = torch.linspace(-1, 1, setting.size, device=setting.device)
    return (axis[:, None]**2 + axis**2 < 4 * share / torch.pi)[None]


def streamed_map(affinities: list[Affinity], region: Tensor, size: tuple[int, int]) -> Tensor:
    """Contributions of all layers with equal weights, (1, K, H, W), by this package."""
    weights = RegionWeights(region, torch.float32)
    shares = tuple(region_shares(affinity, weights, True, CHUNK_SIZE) for affinity in affinities)
    equal = torch.full((1, len(shares)), 1 / len(shares), device=region.device)
    return Contributions(shares, None, equal, size, region).combined()


def explicit_map(affinities: list[Affinity], region: Tensor, size: tuple[int, int]) -> Tensor:
    """The same by the definition; a layer is added up before the next is begun."""
    total = 0
    for affinity in affinities:
        total = total + layer_contribution(affinity.dense()[0], affinity.query_size, affinity.support_size, region[0],
                                           size)
    return total[None] / len(affinities)


@torch.no_grad()
def contributions(setting: Setting) -> dict[str, Computation]:
    """From the projected tokens of all layers to one map, by way of the contributions of every layer."""
    inputs = HeadInputs.of(setting)
    affinities = list(inputs.head.match(inputs.query, inputs.head.encode_support(inputs.support, inputs.masks)))
    arguments = affinities, disc(setting), (setting.size, setting.size)
    return dict(explicit=torch.no_grad()(partial(explicit_map, *arguments)),
                streamed=torch.no_grad()(partial(streamed_map, *arguments)))


@torch.no_grad()
def ablation(setting: Setting) -> dict[str, Computation]:
    """From the coarse masks of all layers to the effect of each."""
    inputs = HeadInputs.of(setting)
    head, region = inputs.head.eval(), disc(setting)
    encoding = head.encode_support(inputs.support, inputs.masks)
    way = MatchedWay(head, inputs.query, encoding)
    evidence = way.evidence

    @torch.no_grad()
    def explicit() -> Tensor:
        decode = partial(inputs.explicit.decode, query=inputs.query, support=inputs.support, num_shots=setting.shots)
        return layer_effects(decode, evidence, region[0])

    return dict(explicit=explicit, streamed=torch.no_grad()(lambda: way.layer_effects(region)[0]))


AFFEX_PARTS = dict(affex=contributions, ablation=ablation)
"""Functions of the setting that give the computations 'explicit' and 'streamed'."""


def prepared_affex(part: str, name: str, setting: Setting) -> Computation:
    """One computation of :data:`AFFEX_PARTS`, ready to be measured in a fresh process."""
    torch.set_num_threads(setting.threads)
    AFFEX_PARTS[part](Setting(setting.backbone, setting.shots, WARM_UP_SIZE, setting.device, setting.threads))[name]()
    return AFFEX_PARTS[part](setting)[name]


@torch.no_grad()
def cost(setting: Setting) -> dict[str, Computation]:
    """What AffEx costs.

    Returns:
        dict: ``prediction``, from images to logits; ``affex``, from images to a map of an eighth of the query, with
        prediction and ablation; ``half``, the same of half the query; ``variants``, four variants of the former in one
        run; ``contributions``, a part of it; ``scores``, the products of query and support tokens alone, which nothing
        that looks at every pair can do without; ``backbone``, the features of query and supports alone.
    """
    case = WholeModel(setting)
    episode = Episode(case.query[0], case.support[0], case.masks[0])
    region = disc(setting)
    pyramid, encoding = case.model.encode(case.query, case.support, case.masks)
    affinities = list(case.model.head.match(pyramid, encoding.ways[0]))
    explainer = AffEx()

    def scores() -> None:
        for affinity in affinities:
            for start, stop in chunks(affinity.num_query, CHUNK_SIZE):
                affinity.scores(start, stop)

    def affex(pixels: Tensor) -> Any:
        return explainer.explain(case.model, episode, pixels)

    def variants() -> Any:
        shared = explainer.contributions(case.model, episode, region)
        return [variant().explain_from(shared, episode) for variant in (AffEx, MaskedAffEx, SignedAffEx, SmoothedAffEx)]

    images = torch.cat((case.query, case.support.flatten(0, 2)))
    parts = dict(
        prediction=lambda: case.model.logits(case.query, case.support, case.masks), affex=partial(affex, region),
        backbone=partial(case.model.extract_feat, images),
        half=partial(affex, disc(setting, 1 / 2)), variants=variants,
        contributions=partial(streamed_map, affinities, region, episode.support_size), scores=scores)
    return {name: torch.no_grad()(part) for name, part in parts.items()}
