"""One model, several threads: every result is, bit for bit, that of one thread."""
import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmfss.apis import EncodedSupport, FewShotInferencer
from mmfss.engine.self_finetuning import SelfFinetuner
from mmfss.models import FewShotSegmentor
from mmfss.models.layers.precision import full_precision
from mmfss.registry import EXPLAINERS, MODELS
from tests.test_explainers.all_explainers import HEADS, NAMES, PROTOTYPE_HEAD, build_explainer
from tests.tiny.data import PIPELINE, draw_picture
from tests.tiny.episode import draw_episode
from tests.tiny.model import TINY_MODEL, build_tiny_model

THREADS = 4
SIZES = ((40, 48), (48, 40), (64, 64), (56, 40))
VIT = dict(type='mmpretrain.VisionTransformer', patch_size=14, img_size=56, out_type='featmap',
           arch=dict(embed_dims=32, num_layers=6, num_heads=2, feedforward_channels=64))
SWIN = dict(type='mmpretrain.SwinTransformer', img_size=64, window_size=2,
            arch=dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]))


@pytest.fixture(autouse=True)
def many_switches() -> Iterator[None]:
    """Threads take turns as often as they can, and each computes alone, so that sums have one order."""
    interval, threads = sys.getswitchinterval(), torch.get_num_threads()
    sys.setswitchinterval(1e-6)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    sys.setswitchinterval(interval)


def build(**changes) -> FewShotSegmentor:
    build_tiny_model()  # registers
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return MODELS.build({**TINY_MODEL, **changes}).eval()


def in_threads(jobs: list[Callable]) -> list:
    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def count_hooks(model: torch.nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


def predictions(model: FewShotSegmentor, number: int) -> list[Callable]:
    """Predictions of episodes that differ in size, and in turn go through the model in one pass or two."""
    jobs = []
    for index in range(number):
        size = SIZES[index % len(SIZES)]
        episode = draw_episode(1, 1 + index % 2, size, name=f'episode{index}')
        args = episode.query[None], episode.support[None], episode.masks[None]

        def job(args=args, twice=index % 3 == 0) -> torch.Tensor:
            with torch.no_grad():
                return model.logits(args[0], model.encode_support(*args[1:])) if twice else model.logits(*args)

        jobs.append(job)
    return jobs


@pytest.mark.parametrize('changes', [
    {},
    dict(backbone=VIT),
    dict(backbone=SWIN),
    dict(backbone=dict(type='mmpretrain.VGG', depth=11, num_classes=-1, out_indices=(4, ), with_last_pool=True),
         head=dict(type='DCAMAHead', num_heads=4)),
    dict(head=PROTOTYPE_HEAD),
    dict(features=dict(type='ModuleFeatures', probe_size=64, levels=[[f'layer{i}.1'] for i in range(1, 5)])),
], ids=['resnet', 'vit', 'swin', 'vgg', 'prototypes', 'named_modules'])
def test_predictions(changes: dict) -> None:
    # Another model of equal weights gives the expected values: nothing it remembers is of help.
    number = 8 if changes else 24
    expected = [job() for job in predictions(build(**changes), number)]
    model = build(**changes)
    results = in_threads(predictions(model, number))
    assert all(torch.equal(*pair) for pair in zip(results, expected, strict=True))
    assert count_hooks(model) == 0


@pytest.mark.usefixtures('small_segments')
@pytest.mark.parametrize('head', [TINY_MODEL.head, PROTOTYPE_HEAD], ids=['matching', 'prototypes'])
def test_predictions_mixed_with_every_explainer(head: dict) -> None:
    """Two episodes explained by each explainer, among predictions."""
    model = build(head=head)
    names = ['prototypes', 'saliency', 'deep_lift', 'signed_affex', 'lime', 'random'] if head is PROTOTYPE_HEAD else [
        name for name in NAMES if name not in HEADS]
    episodes = [draw_episode(1, 1, (32, 40), name='a'), draw_episode(1, 2, (40, 32), name='b')]
    explanations = [
        lambda name=name, episode=episode: build_explainer(name).attribute(model, episode, 'ground_truth')
        for name in names for episode in episodes]
    wanted = [x.requires_grad for x in model.parameters()]
    pairs = [pair for trio in zip(explanations, predictions(model, len(explanations))) for pair in trio]
    expected = [job() for job in pairs]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
    # Half of the neighbours are explanations of one kind, the others are mixed.
    order = np.arange(len(pairs))
    order[::2] = np.random.default_rng(0).permutation(order[::2])
    results = in_threads([pairs[i] for i in order])
    assert not [i for i, result in zip(order, results) if not torch.equal(result, expected[i])]
    assert count_hooks(model) == 0 and not any(module.training for module in model.modules())
    assert [x.requires_grad for x in model.parameters()] == wanted and all(x.grad is None for x in model.parameters())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(np.array_equal(*pair) for pair in zip(np.random.get_state(), numpy_state))


def test_draws_of_other_threads_do_not_matter() -> None:
    model, episode = build(), draw_episode(1, 2, (40, 48))
    expected = build_explainer('gradient_shap').attribute(model, episode, 'ground_truth')

    def draw() -> None:
        for _ in range(2000):
            np.random.uniform()
            torch.rand(1)

    jobs = [draw, lambda: build_explainer('gradient_shap').attribute(model, episode, 'ground_truth'), draw]
    assert torch.equal(in_threads(jobs)[1], expected)


def test_an_error_in_one_thread_leaves_nothing_behind() -> None:
    model = build()
    jobs = predictions(model, 12)
    expected = [job() for job in jobs]

    def fail() -> str:
        with pytest.raises(RuntimeError), torch.no_grad():
            model.extract_feat(torch.zeros(1, 2, 40, 48))
        with pytest.raises(ValueError, match='no level 9'):
            episode = draw_episode(1, 1, (40, 48))
            EXPLAINERS.build(dict(type='grad_cam', level=9)).attribute(model, episode, 'ground_truth')
        return 'failed'

    results = in_threads([x for job in jobs for x in (job, fail)])
    assert results[1::2] == ['failed'] * 12
    assert all(torch.equal(*pair) for pair in zip(results[::2], expected))
    assert count_hooks(model) == 0 and not any(module.training for module in model.modules())
    assert torch.equal(jobs[0](), expected[0])


def test_the_model_can_be_copied_and_pickled() -> None:
    model = build()
    job, = predictions(model, 1)
    expected = job()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(predictions(other, 1)[0](), expected) and count_hooks(other) == 0


def test_compiled_backbone() -> None:
    expected = [job() for job in predictions(build(), 8)]
    model = build()
    # (This backend leaves every operator as it is.)
    model.backbone = torch.compile(model.backbone, backend='eager', dynamic=False)
    jobs = predictions(model, 8)[::4]
    # While one thread compiles, PyTorch tells all of them so, and heads sum in another order.
    for job in jobs:
        job()
    assert all(torch.equal(*pair) for pair in zip(in_threads(jobs * 3), expected[::4] * 3))


def test_self_finetuning_keeps_others_waiting() -> None:
    model = build(features=dict(num_levels=3), head=dict(type='DMTNetHead'))
    images, masks = torch.randn(2, 3, 128, 128), torch.zeros(2, 128, 128)
    masks[:, 20:90, 30:100] = 1

    def predict() -> torch.Tensor:
        with torch.no_grad():
            return model.logits(images[:1], images[None, None, 1:], masks[None, None, 1:])

    expected, tuner = predict(), SelfFinetuner(model, lr=0.1)
    with ThreadPoolExecutor(1) as pool:
        with tuner.active():
            tuner.step(model.extract_feat(images), masks)
            assert not torch.equal(predict(), expected)
            other = pool.submit(predict)
            assert not wait([other], timeout=0.5).done
        assert torch.equal(other.result(), expected)


def test_blocks_of_full_precision_overlap() -> None:
    matmul, before = torch.backends.mkldnn.matmul, torch.backends.mkldnn.matmul.fp32_precision
    first, second = (full_precision(torch.device('cpu')) for _ in range(2))
    try:
        matmul.fp32_precision = 'bf16'
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert matmul.fp32_precision == 'ieee'
        second.__exit__(None, None, None)
        assert matmul.fp32_precision == 'bf16'
    finally:
        matmul.fp32_precision = before


@pytest.fixture(scope='module')
def inferencer() -> FewShotInferencer:
    model = build_tiny_model(seed=1)
    model.cfg = Config(dict(model=TINY_MODEL, test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))
    inferencer = FewShotInferencer(model)
    # An untrained head decides for one class everywhere: let it decide for each in a half of a query.
    logits = inferencer.predict(draw_picture('q0', 0)[0], [draw_picture('s0', 0)], return_logits=True)['logits']
    with torch.no_grad():
        model.head.mixer3[-1].bias[1] += float(np.median(logits[0] - logits[1]))
    return inferencer


class TestInferencer:

    @staticmethod
    def supports() -> list[dict]:
        return [{f'class{i}': [draw_picture(f's{i}', i), draw_picture(f't{i}', i)][:1 + i % 2]} for i in range(4)]

    @pytest.mark.parametrize('encoded', [True, False])
    def test_supports_of_each_thread(self, inferencer: FewShotInferencer, encoded: bool) -> None:
        supports = [inferencer.encode_support(x) for x in self.supports()] if encoded else self.supports()
        queries = [draw_picture(f'q{i}', i, ((40, 90), (64, 64), (33, 31))[i % 3])[0] for i in range(16)]
        calls = [inferencer.predict, inferencer.__call__]
        jobs = [lambda i=i, query=query: calls[i // 2 % 2](
            query, supports[i % 4], return_logits=True, explain='saliency' if i % 5 == 0 else None)
            for i, query in enumerate(queries)]
        expected, results = [job() for job in jobs], in_threads(jobs)
        for one, other in zip(results, expected, strict=True):
            assert one['class_names'] == other['class_names']
            assert np.array_equal(one['logits'], other['logits']) and np.array_equal(one['mask'], other['mask'])
            for maps in zip(one.get('attributions', []), other.get('attributions', []), strict=True):
                assert maps[0] is maps[1] is None or all(np.array_equal(*pair) for pair in zip(*maps, strict=True))
        assert any(maps[0] is not None for maps in (x['attributions'] for x in expected if 'attributions' in x))

    def test_predict_keeps_nothing(self, inferencer: FewShotInferencer) -> None:
        first, second = (inferencer.encode_support(x) for x in self.supports()[:2])
        query = draw_picture('q', 0)[0]
        assert inferencer.set_support(first) is first is inferencer.support
        assert inferencer.predict(query, support=second)['class_names'] == ['class1']
        assert next(inferencer.iterate([query], support=second))['class_names'] == ['class1']
        assert inferencer.support is first and inferencer.predict(query)['class_names'] == ['class0']
        assert inferencer(query, second)['class_names'] == ['class1'] and inferencer.support is second

    def test_an_encoded_support_is_a_value(self, inferencer: FewShotInferencer) -> None:
        image, mask = draw_picture('s0', 0)
        encoded, query = inferencer.encode_support([(image, mask)]), draw_picture('q0', 0)[0]
        expected = inferencer.predict(query, encoded, return_logits=True, explain='signed_affex')
        image[:], mask[:] = 0, True
        stored = pickle.loads(pickle.dumps(encoded))
        assert isinstance(stored, EncodedSupport) and stored.class_names == ('object', )
        for support in (encoded, stored):
            result = inferencer.predict(query, support, return_logits=True, explain='signed_affex')
            assert np.array_equal(result['logits'], expected['logits'])
            assert np.array_equal(result['attributions'][0][0], expected['attributions'][0][0])
        with pytest.raises(ValueError, match='read-only'):
            encoded.shots[0][0].image[:] = 0
        with pytest.raises(AttributeError):
            encoded.class_names = ('other', )

    @pytest.mark.parametrize('explain', ['signed_affex', 'saliency'])
    def test_in_inference_mode_and_of_a_compiled_model(self, inferencer: FewShotInferencer, explain: str) -> None:
        support, query = self.supports()[1], draw_picture('q0', 0)[0]
        expected = inferencer.predict(query, support, explain=explain)
        with torch.inference_mode():
            encoded = inferencer.encode_support(support)
            results = [inferencer.predict(query, encoded, explain=explain)]
        compiled = FewShotInferencer(torch.compile(inferencer.model, backend='eager'))
        results.append(inferencer.predict(query, encoded, explain=explain))
        results.append(compiled.predict(query, support, explain=explain))
        for result in results:
            assert np.array_equal(result['mask'], expected['mask'])
            for maps in zip(result['attributions'][0], expected['attributions'][0], strict=True):
                assert np.array_equal(*maps)
