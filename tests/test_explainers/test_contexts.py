"""Explanations are the same in every context in which they may be asked for."""
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import Iterator

import pytest
import torch
from torch import Tensor

from mmfss.explainers.affex import AffEx
from mmfss.explainers.isolation import private_copy
from mmfss.models import FewShotSegmentor
from mmfss.registry import EXPLAINERS
from mmfss.structures import Episode
from tests.test_explainers.all_explainers import HEADS, NAMES, build_explainer, build_model, shared_model
from tests.tiny.episode import draw_episode

pytestmark = pytest.mark.usefixtures('small_segments')
SIZE = dict(ways=1, shots=1, size=(32, 40))
SOME = ['signed_affex', 'lime', 'deep_lift']


def fresh() -> tuple[Episode, Tensor]:
    episode = draw_episode(**SIZE)
    return episode, episode.target == 1


@cache
def expected(name: str) -> Tensor:
    return build_explainer(name).attribute(shared_model(name), *fresh())


def whole(model: FewShotSegmentor) -> FewShotSegmentor:
    return torch.compile(model, backend='eager')


def parts(model: FewShotSegmentor) -> FewShotSegmentor:
    model.backbone = torch.compile(model.backbone, backend='eager')
    model.head = torch.compile(model.head, backend='eager')
    return model


def in_place(model: FewShotSegmentor) -> FewShotSegmentor:
    model.backbone.compile(backend='eager')
    model.head.compile(backend='eager')
    return model


def in_train_mode(model: FewShotSegmentor) -> FewShotSegmentor:
    return model.train()


def of_inference_tensors(model: FewShotSegmentor) -> FewShotSegmentor:
    with torch.inference_mode():
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                for name, x in tensors.items():
                    if x is not None:
                        made = x.detach().clone()
                        tensors[name] = torch.nn.Parameter(made, False) if isinstance(x, torch.nn.Parameter) else made
    assert all(x.is_inference() for x in model.state_dict().values())
    return model


def compiled(model: FewShotSegmentor) -> FewShotSegmentor:
    """In every way at once."""
    return whole(parts(in_place(model)))


@cache
def changed(kind, name: str) -> FewShotSegmentor:
    return kind(build_model(name))


@pytest.mark.parametrize(('kind', 'name'), [
    *product([compiled, in_train_mode, of_inference_tensors], NAMES), *product([whole, parts, in_place], SOME)])
def test_of_a_model(kind, name: str) -> None:
    model = changed(kind, name if name in HEADS else '')
    modes = [module.training for module in model.modules()]
    assert torch.equal(build_explainer(name).attribute(model, *fresh()), expected(name))
    assert [module.training for module in model.modules()] == modes


@contextmanager
def nested() -> Iterator[None]:
    with torch.inference_mode(), torch.autocast('cpu', dtype=torch.bfloat16):
        yield


CONTEXTS = dict(
    inference_mode=torch.inference_mode, no_grad=torch.no_grad,
    autocast=lambda: torch.autocast('cpu', dtype=torch.bfloat16))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('context', CONTEXTS)
def test_inside(name: str, context: str) -> None:
    before = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled('cpu')
    with CONTEXTS[context]():
        inside = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled('cpu')
        episode, region = fresh()
        assert episode.query.is_inference() == region.is_inference() == inside[1]
        attribution = build_explainer(name).attribute(shared_model(name), episode, region)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
                torch.is_autocast_enabled('cpu')) == inside
    assert torch.equal(attribution, expected(name))
    assert not attribution.requires_grad and not attribution.is_inference() and attribution.dtype == torch.float32
    assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled('cpu')) == before


@pytest.mark.parametrize('name', SOME)
def test_episode_of_inference_tensors(name: str) -> None:
    with torch.inference_mode():
        episode, region = fresh()
    assert episode.query.is_inference() and region.is_inference()
    assert torch.equal(build_explainer(name).attribute(shared_model(name), episode, region), expected(name))
    assert episode.query.is_inference()


@pytest.mark.parametrize('name', ['signed_affex', 'saliency', 'lime'])
@pytest.mark.parametrize('kind', [whole, parts, in_train_mode])
def test_the_predicted_region_is_that_of_the_model_in_eval_mode(name: str, kind) -> None:
    model, (episode, _) = build_model(name), fresh()
    with torch.no_grad():
        logits = model.logits(episode.query[None], episode.support[None], episode.masks[None])[0]
        model.head.mixer3[-1].bias[1] += (logits[0] - logits[1]).median()
        logits = model.logits(episode.query[None], episode.support[None], episode.masks[None])[0]
    outside = build_explainer(name).attribute(model, episode, logits.argmax(0) == 1)
    with nested():
        assert torch.equal(build_explainer(name).attribute(kind(model), episode), outside)


@torch.inference_mode()
def test_contributions_and_batches() -> None:
    model, (episode, region) = shared_model('signed_affex'), fresh()
    contributions = AffEx().contributions(model, episode, region)
    assert not contributions.weights.is_inference()
    maps = build_explainer('signed_affex').attribute_batch(model, [episode, episode], region)
    torch.testing.assert_close(maps, expected('signed_affex').expand_as(maps), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_readings_of_prototypes() -> None:
    (reading, weights), = EXPLAINERS.build(dict(type='prototypes')).readings(
        shared_model('prototypes'), *(x if isinstance(x, Episode) else x[None] for x in fresh()))
    assert not reading.odds.is_inference() and weights.sum().item() == pytest.approx(1, abs=1e-5)


class TestPrivateCopy:

    def test_shares_the_weights(self) -> None:
        model = build_model('saliency').train()
        model.cfg = object()
        mine, other = dict(model.state_dict()), dict(private_copy(model).state_dict())
        assert mine.keys() == other.keys()
        assert all(other[name].data_ptr() == value.data_ptr() for name, value in mine.items())
        copied = private_copy(model)
        assert copied.cfg is model.cfg and not any(module.training for module in copied.modules())
        assert any(x.requires_grad for x in model.parameters())
        assert not any(x.requires_grad for x in copied.parameters())
        assert not {id(module) for module in model.modules()} & {id(module) for module in copied.modules()}

    def test_reading_explainers_take_none_of_a_model_in_eval_mode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr('mmfss.explainers.isolation.private_copy', lambda model: pytest.fail('copied'))
        for name in ('signed_affex', 'lime', 'occlusion', 'random', 'prototype_readout'):
            build_explainer(name).attribute(shared_model(name), *fresh())

    def test_hooks_of_other_threads_are_not_copied(self) -> None:
        model = build_model('saliency')
        with ThreadPoolExecutor(1) as pool:
            with model.feature_reader.listening(model.backbone):
                copied = pool.submit(private_copy, model)
                wait([copied], timeout=0.2)
            assert not any(m._forward_hooks or m._forward_pre_hooks for m in copied.result().modules())

    def test_a_model_that_cannot_be_copied(self) -> None:
        model = build_model('saliency')
        model.lock = threading.Lock()
        with pytest.raises(ValueError, match='cannot be explained because it cannot be copied.*keep .* locks'):
            build_explainer('saliency').attribute(model, *fresh())
        assert build_explainer('signed_affex').attribute(model, *fresh()).isfinite().all()
