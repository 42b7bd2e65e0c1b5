"""What the pages of the documentation show works, and what they name exists."""
import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mmfss import register_all_modules
from mmfss.evaluation.attribution import build_attribution_metric
from mmfss.models import MatchingHead
from mmfss.registry import EXPLAINERS, MODELS
from tests.tiny.episode import draw_episode
from tests.tiny.model import build_tiny_model

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs' / 'en'
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

SMALL = """
shapes = dict(num_train=160, num_val=80, side=64)
few = dict(small_classes='skip')
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=4, **loader, dataset=dict(data_root='data', index=shapes, sampler=few))
val_dataloader = dict(**loader, dataset=dict(data_root='data', index=shapes, sampler=few, num_episodes=4))
test_dataloader = dict(**loader, dataset=dict(data_root='data', index=shapes, sampler=few, num_episodes=8))
train_cfg = dict(max_iters=30, val_interval=30)
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-2, total_steps=30, by_epoch=False)]
default_hooks = dict(logger=dict(interval=1))
"""
"""Appended to the config of the page: few and small pictures, few iterations."""


@pytest.fixture(scope='class')
def own_method(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the page was followed: its files written, its commands run."""
    page = (DOCS / 'add_a_method.md').read_text(encoding='utf-8').replace('iter_400', 'iter_30')
    folder = tmp_path_factory.mktemp('own_method')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    (folder / 'my_method').mkdir()
    files = dict(re.findall(r'^`(my_method/\w+\.py)`:\n\n```python\n(.*?)```', page, re.S | re.M))
    assert set(files) == {'my_method/projected_vote_head.py', 'my_method/shapes.py'}
    files['my_method/shapes.py'] += SMALL
    for name, text in files.items():
        (folder / name).write_text(text)
    whole_lines = page.replace('\\\n', '')
    commands = re.findall(r'^python tools/((?:train|test|explain)\.py .*)$', whole_lines, re.M)
    assert [command.split('.')[0] for command in commands] == ['train', 'test', 'explain']
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        try:
            for number, command in enumerate(commands):
                # MMEngine keeps one logger, with its stream, for each name and second.
                options = ['--cfg-options', f'experiment_name={folder.name}-{number}']
                patch.setattr(sys, 'argv', [*shlex.split(command), *options])
                runpy.run_path(str(ROOT / 'tools' / sys.argv[0]), run_name='__main__')
            yield folder
        finally:
            MODELS.module_dict.pop('ProjectedVoteHead', None)
            for name in [name for name in sys.modules if name.split('.')[0] == 'my_method']:
                del sys.modules[name]


class TestOwnMethod:

    def test_trains(self, own_method: Path) -> None:
        lines = [json.loads(line) for path in own_method.glob('work_dirs/my_method/shapes/*/vis_data/scalars.json')
                 for line in path.read_text().splitlines()]
        losses = [line['loss'] for line in lines if 'loss' in line]
        assert len(losses) == 30 and sum(losses[-5:]) < 0.9 * sum(losses[:5])

    def test_is_tested(self, own_method: Path) -> None:
        results = json.loads((own_method / 'five_shots.json').read_text())
        assert 0 < results['metrics']['mIoU'] <= 100

    def test_is_explained(self, own_method: Path) -> None:
        out = own_method / 'my_explanations'
        results = json.loads((out / 'results.json').read_text())
        assert list(results['explainers']) == ['signed_affex', 'random'] and results['region'] == 'ground_truth'
        assert (out / 'index.html').is_file()
        records = [json.loads(path.read_text()) for path in out.glob('episodes/*/record.json')]
        assert len(records) == 10
        # Every map of the two coarsest levels of ResNet-18.
        assert {len(record['contributions']['signed_affex']['layers'][0]) for record in records} == {4}
        arrays = np.load(next(out.glob('episodes/*/attributions.npz')))
        assert arrays['signed_affex'].shape == arrays['support_masks'].shape == (1, 2, 128, 128)
        assert arrays['signed_affex'].std() > 0.01


class TestPages:

    def test_blocks(self) -> None:
        """Of the pages on explainers and metrics, one after the other."""
        names: dict = dict(model=build_tiny_model(), episode=draw_episode(shots=2))
        for page in ('explainers.md', 'attribution_metrics.md'):
            names['region'] = names['episode'].target[None] > 0
            exec(compile(code_blocks(DOCS / page), page, 'exec'), names)
        assert names['attribution'].shape == (1, 2, 48, 64)
        value = names['metric'].measure(names['subject'], names['attribution'], names['region']).value
        assert -1 <= float(value) <= 1

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
