"""What the README, the page on extending and the methods' pages show works."""
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmfss.explainers.building import build_explainers, explainer_configs
from mmfss.registry import METRICS, MODELS
from mmfss.utils.config import load_config
from tests.tiny.model import TINY_MODEL

ROOT = Path(__file__).parents[1]
METHODS = sorted(ROOT.glob('configs/*/README.md'))
README = (ROOT / 'README.md').read_text(encoding='utf-8')
EXTEND = ROOT / 'docs' / 'en' / 'extend.md'


def test_head_of_one_file_trains_and_segments() -> None:
    source, = (block for block in blocks_of(EXTEND, 'NearestPixelHead') if 'class' in block)
    exec(compile(source, str(EXTEND), 'exec'), {'__name__': 'extend'})
    try:
        model = MODELS.build(dict(
            type='FewShotSegmentor',
            backbone=dict(type='mmpretrain.ResNet', depth=18, stem_channels=8, base_channels=8),
            head=dict(type='NearestPixelHead')))
    finally:
        MODELS.module_dict.pop('NearestPixelHead')
    torch.manual_seed(0)
    query, support = torch.randn(2, 3, 64, 96), torch.randn(2, 2, 3, 3, 64, 96)
    masks = (torch.rand(2, 2, 3, 64, 96) > 0.5).float()
    logits = model.logits(query, support, masks)
    assert logits.shape == (2, 3, 64, 96)
    loss, = model.head.loss(logits, torch.zeros(2, 64, 96, dtype=torch.long)).values()
    loss.backward()
    assert model.head.temperature.grad.abs() > 0
    with torch.no_grad():
        again = model.logits(query, model.encode_support(support, masks))
    assert torch.allclose(again, logits, atol=1e-5)


@pytest.mark.parametrize('path', sorted({
    *re.findall(r'\]\(([^)#h][^)#]*)', README), *re.findall(r'(?:python|bash) +([\w/]+\.(?:py|sh))', README)}))
def test_named_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_readme_is_short() -> None:
    """A visitor reads it at once: two pictures, at most 200 lines; every page of the documentation is linked."""
    assert len(README.splitlines()) <= 200
    pictures = re.findall(r'!\[[^]]+\]\(([^)]+)\)', README)
    assert len(pictures) == 2 and all((ROOT / picture).stat().st_size < 300_000 for picture in pictures)
    # Two pages repeat the README, for the site.
    pages = {page.name for page in EXTEND.parent.glob('*.md')} - {'index.md', 'get_started.md'}
    assert sorted(name for name in pages if f'](docs/en/{name})' not in README) == []


def blocks_of(page: Path, word: str) -> list[str]:
    """Python blocks of a page that hold a word."""
    blocks = re.findall(r'```python\n(.*?)```', page.read_text(encoding='utf-8'), re.S)
    return [block for block in blocks if word in block]


def episode() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(query=torch.randn(1, 3, 64, 64), support=torch.randn(1, 1, 2, 3, 64, 64),
                masks=(torch.rand(1, 1, 2, 64, 64) > 0.5).float())


@pytest.mark.parametrize('page', [page for page in METHODS if blocks_of(page, 'MODELS.build')],
                         ids=lambda page: page.parent.name)
def test_methods_are_built_from_python(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a fresh interpreter: nothing has set a default scope."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    for block in blocks_of(page, 'MODELS.build'):
        names = episode()
        exec(compile(block, str(page), 'exec'), names)
        # A model with a head of this package, whatever the backbone.
        head = getattr(names['model'], 'head', None) or names['model'].decode_head
        assert type(head).__module__.startswith(('mmfss.models.heads', 'mmfss.models.decode_heads'))
        assert 'encoding' not in names or names['logits'].shape == (1, 2, 64, 64)


def test_reading_of_prototypes() -> None:
    block, = blocks_of(ROOT / 'configs' / 'scaleproto_fss' / 'README.md', '.read(')
    model = MODELS.build({**TINY_MODEL, 'head': dict(type='FewShotScaleProtoHead')}).eval()
    names = dict(episode(), model=model)
    with torch.no_grad():
        pyramid, _ = model.encode(*(names[key] for key in ('query', 'support', 'masks')))
        names['region'] = torch.ones(1, *pyramid.sizes[0])
        exec(compile(block, 'README.md', 'exec'), names)
        # Every line has its shape in a comment: (B, G, ...) has as many numbers.
        for line, shape in re.findall(r'^(reading\S+) +# (\([^)]*\))', block, re.M):
            assert eval(line, names).ndim == len(shape.split(',')), line


def test_explanation_in_a_config(tmp_path: Path) -> None:
    folders = {'swinb_coco20i_fold0': 'dcama', 'dcama_swinb_coco20i': 'explain'}
    for number, block in enumerate(blocks_of(ROOT / 'configs' / 'explain' / 'README.md', '_base_')):
        base = re.search(r"_base_ = '\./(\w+)\.py'", block)
        path = tmp_path / f'own{number}.py'
        path.write_text(block.replace(base[0], f"_base_ = '{ROOT}/configs/{folders[base[1]]}/{base[1]}.py'"))
        cfg: Config = load_config(path)
        assert cfg.test_cfg.type == 'ExplanationLoop'
        assert build_explainers(explainer_configs(cfg.test_cfg.explainers))
        assert [METRICS.build(metric) for metric in cfg.test_evaluator]
