"""What the pages of the documentation show works, and what they name exists."""
import re
from pathlib import Path

import pytest
import torch

from mmfss import register_all_modules
from mmfss.evaluation.attribution import build_attribution_metric
from mmfss.models import MatchingHead
from mmfss.registry import EXPLAINERS, MODELS

DOCS = Path(__file__).parents[1] / 'docs' / 'en'
PAGES = sorted(DOCS.glob('*.md'))


def code_blocks(page: Path) -> str:
    return '\n'.join(re.findall(r'```python\n(.*?)```', page.read_text(encoding='utf-8'), re.S))


@pytest.fixture(scope='module')
def own_head() -> dict:
    """What is defined after running the page, top to bottom."""
    register_all_modules(init_default_scope=True)
    names: dict = {'__name__': 'explain_your_own_head'}
    with torch.random.fork_rng():
        try:
            exec(compile(code_blocks(DOCS / 'explain_your_own_head.md'), 'explain_your_own_head.md', 'exec'), names)
        finally:
            MODELS.module_dict.pop('CosineHead', None)
    return names


class TestOwnHead:

    def test_trains(self, own_head: dict) -> None:
        assert sum(own_head['losses'][-5:]) < 0.6 * sum(own_head['losses'][:5])

    def test_explains(self, own_head: dict) -> None:
        explanation, masks = own_head['explanation'], own_head['masks'][0] > 0
        attribution = explanation.attribution
        assert attribution.shape == masks.shape == (1, 2, 64, 64)
        assert attribution.min() == 0 and attribution.max() == 1
        assert attribution[masks].mean() > attribution[~masks].mean() + 0.2
        assert torch.allclose(explanation.contributions.weights.sum(1), torch.ones(1))
        assert explanation.contributions.weights.shape == (1, 3) and explanation.contributions.shots.shape == (1, 2)

    def test_finds_the_square_that_is_meant(self, own_head: dict) -> None:
        """By affinity alone, without the help of the mask."""
        shares = []
        for seed in range(4):
            torch.manual_seed(seed)
            query, support, masks, target = own_head['draw_episodes'](1)
            episode = own_head['Episode'](query[0], support[0], masks[0], target[0])
            explainer = EXPLAINERS.build(dict(type='unmasked_affex'))
            attribution = explainer.attribute(own_head['model'], episode, 'ground_truth')
            shares.append(attribution[masks[0] > 0].mean() / attribution.mean())
        assert min(shares) > 1.5

    def test_cheap_effects_are_the_effects(self, own_head: dict) -> None:
        head, model = own_head['model'].head, own_head['model']
        region = own_head['target'] > 0
        with torch.no_grad():
            pyramid, encoded = model.encode(own_head['query'], own_head['support'], own_head['masks'])
            way, = encoded.ways
            evidence = [head.aggregate(affinity, way) for affinity in head.match(pyramid, way)]
            arguments = (evidence, pyramid, way, region)
            expected = MatchingHead.layer_effects(head, *arguments)
            cheap = own_head['CheapCosineHead'].layer_effects(head, *arguments)
        assert expected.shape == (1, 3) and expected.max() > 0
        assert torch.allclose(cheap, expected, atol=1e-4)

    def test_affinity(self, own_head: dict) -> None:
        torch.manual_seed(0)
        query, support = torch.randn(2, 5, 3, 4), torch.randn(2, 2, 5, 2, 3)
        affinity = own_head['CosineAffinity'](query, support, 2., 0)
        dense = affinity.dense()
        assert dense.shape == (2, 12, 12)
        a, b = query[1, :, 2, 1], support[1, 1, :, 0, 2]
        assert dense[1, 2 * 4 + 1, 6 + 2] == pytest.approx(2 * float(torch.cosine_similarity(a, b, dim=0)), abs=1e-5)
        weights = torch.rand(2, 12, 3)
        assert torch.allclose(affinity.vote(weights), dense.softmax(-1).transpose(1, 2) @ weights, atol=1e-6)


class TestPages:

    def test_every_explainer_is_described(self) -> None:
        EXPLAINERS.import_from_location()
        text = (DOCS / 'explainers.md').read_text(encoding='utf-8')
        described = set(re.findall(r'`(\w+)`', ' '.join(re.findall(r'^#+ .*$', text, re.M))))
        assert set(EXPLAINERS.module_dict) <= described

    def test_every_named_metric_exists(self) -> None:
        text = (DOCS / 'attribution_metrics.md').read_text(encoding='utf-8')
        names = re.findall(r'^\| `([^`]+)`', text, re.M)
        assert len(names) >= 12
        for name in names:
            build_attribution_metric(name.replace('@P%', '@5%'))

    @pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
    def test_links(self, page: Path) -> None:
        for target in re.findall(r'\]\(([^)#h][^)#]*)', page.read_text(encoding='utf-8')):
            assert (page.parent / target).exists(), target
