"""What the README shows works."""
import re
from pathlib import Path

import pytest
import torch

from mmfss.registry import MODELS

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def test_head_of_one_file_trains_and_segments() -> None:
    source, = (block for block in re.findall(r'```python\n(.*?)```', README, re.S) if 'NearestPixelHead' in block)
    exec(compile(source, 'README.md', 'exec'), {'__name__': 'readme'})
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
