"""A function as a segmentor: in the test loop, the inferencer, explainers and metrics."""
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from torch import Tensor, nn

from mmfss.apis import FewShotInferencer
from mmfss.models import BlackBoxSegmentor
from mmfss.models.layers import compose_ways
from mmfss.registry import EXPLAINERS, MODELS
from mmfss.structures import EpisodeDataSample
from tests.tiny.episode import draw_episode

PAGE = Path(__file__).parents[3] / 'docs/en/black_box.md'


def by_color(query: Tensor, supports: Tensor, masks: Tensor) -> Tensor:
    """Logit of the class: nearer to its mean color than to that of the rest."""
    masks = masks[:, None]
    inside, outside = ((supports * m).sum((0, 2, 3)) / m.sum().clamp(min=1e-3) for m in (masks, 1 - masks))
    return 5 * ((query - outside[:, None, None]).norm(dim=0) - (query - inside[:, None, None]).norm(dim=0))


class ByColor(nn.Module):
    """The same for batches, as logits of background and foreground at half the size."""

    def forward(self, query: Tensor, supports: Tensor, masks: Tensor) -> Tensor:
        logit = torch.stack([by_color(*parts) for parts in zip(query, supports, masks)])[:, ::2, ::2]
        return torch.stack((torch.zeros_like(logit), logit), dim=1)


def tensors(batch: int = 2, ways: int = 2, shots: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query, support = (torch.randn(*shape, 3, 16, 24, generator=generator)
                      for shape in ((batch, ), (batch, ways, shots)))
    return query, support, (torch.rand(batch, ways, shots, 16, 24, generator=generator) > 0.6).float()


def test_calls_the_function_for_each_query_and_class() -> None:
    model, (query, support, masks) = BlackBoxSegmentor(by_color).eval(), tensors()
    std, mean = model.data_preprocessor.std, model.data_preprocessor.mean
    pictures = [(x * std + mean) / 255 for x in (query, support)]
    ways = []
    for way in range(2):
        logit = torch.stack([by_color(pictures[0][b], pictures[1][b, way], masks[b, way]) for b in range(2)])
        ways.append(torch.stack((-logit / 2, logit / 2), dim=1))
    torch.testing.assert_close(model.logits(query, support, masks), compose_ways(ways), rtol=0, atol=1e-5)
    one = model.encode_support(support[:1], masks[:1])  # one support set, several queries
    torch.testing.assert_close(model.logits(query, one)[0], model.logits(query, support, masks)[0])


def test_module_for_batches() -> None:
    model, inputs = BlackBoxSegmentor(ByColor(), batched=True).eval(), tensors(ways=1)
    logits = model.logits(*inputs)
    assert logits.shape == (2, 2, 16, 24) and (logits[:, 0] == 0).all()
    single = BlackBoxSegmentor(lambda *parts: ByColor()(*(x[None] for x in parts))[0])
    torch.testing.assert_close(single.logits(*inputs), logits)


def test_channel_order_is_undone() -> None:
    seen = []
    model = BlackBoxSegmentor(lambda query, supports, masks: seen.append(query) or query[0],
                              data_preprocessor=dict(type='EpisodeDataPreProcessor', bgr_to_rgb=False))
    bgr = torch.tensor([0., 51., 255.]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    query = model.data_preprocessor.normalize(bgr)
    model.logits(query, query[:, None, None], torch.ones(1, 1, 1, 4, 4))
    torch.testing.assert_close(seen[0][:, 0, 0], torch.tensor([1., 0.2, 0.]))


def test_test_loop() -> None:
    """By a config that names the function, as tools/test.py builds it."""
    model = MODELS.build(dict(type='BlackBoxSegmentor', function=f'{__name__}:by_color')).eval()
    assert model.training_free and not list(model.parameters())
    sample = EpisodeDataSample(metainfo=dict(class_ids=[0]))
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 16, 16, dtype=torch.long))
    sample.support_sem_seg = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    sample.support_sem_seg[..., :8] = 1
    image = torch.zeros(3, 16, 16, dtype=torch.uint8)
    image[:, :, :8] = 200
    result, = model.test_step(dict(inputs=dict(query=[image], support=[image[None, None]]), data_samples=[sample]))
    assert torch.equal(result.pred_sem_seg.data[0], sample.support_sem_seg[0, 0].long())


def test_inferencer() -> None:
    model = BlackBoxSegmentor(by_color)
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[
        dict(type='ForEachImage', transforms=[
            dict(type='LoadEpisodeImage'), dict(type='ResizeEpisodeImage', scale=(32, 32))])]))))
    image = torch.zeros(32, 32, 3, dtype=torch.uint8).numpy()
    image[:16], mask = 255, image[..., 0].copy()
    mask[:16] = 1
    result = FewShotInferencer(model)(image, support=[(image, mask)])
    assert (result['mask'] == mask).all()


def test_explainers() -> None:
    model, episode = BlackBoxSegmentor(by_color).eval(), draw_episode(size=(32, 32))
    for name, options in dict(occlusion={}, feature_ablation=dict(n_segments=10), lime=dict(n_segments=10),
                              saliency={}).items():
        attribution = EXPLAINERS.build(dict(type=name, **options)).attribute(model, episode, 'all')
        assert attribution.shape == episode.masks.shape and attribution.isfinite().all(), name
    with pytest.raises(ValueError, match='AffEx reads affinities, which a BlackBoxSegmentor does not have'):
        EXPLAINERS.build(dict(type='signed_affex')).attribute(model, episode, 'all')


def test_page() -> None:
    """The example of the page, from top to bottom."""
    names: dict = {'__name__': 'black_box'}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        example = re.search(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), re.S)[1]
        exec(compile(example, 'black_box.md', 'exec'), names)
    square = names['mask'][0, 0] > 0
    assert (names['prediction'][0] == square).float().mean() > 0.95
    attribution = names['attribution'][0, 0]
    assert attribution[square].mean() > attribution[~square].mean()
    assert 0 <= names['loss'].value < 0.2


@pytest.mark.parametrize(('function', 'message'), [
    (3, 'function must be callable with .query, supports, masks., got a int'),
    ('nowhere:segment', "write 'package.module:name'"),
    ('math:segment', "write 'package.module:name'"),
    ('math', "write 'package.module:name'"),
])
def test_functions_that_are_none(function: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlackBoxSegmentor(function)


@pytest.mark.parametrize(('batched', 'message'), [
    (False, r'shape \(h, w\) or \(2, h, w\), got \(3, 16, 24\)'),
    (True, r'shape \(B, h, w\) or \(B, 2, h, w\), got \(2, 3, 16, 24\)'),
])
def test_results_of_another_shape(batched: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlackBoxSegmentor(lambda query, supports, masks: query, batched).logits(*tensors())


def test_is_not_trained() -> None:
    with pytest.raises(ValueError, match='not trained'):
        BlackBoxSegmentor(by_color).loss({}, [])
