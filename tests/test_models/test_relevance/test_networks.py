"""Whole networks beside the reference numbers, and identities of their maps."""
from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import Tensor

from mmfss.models import UnrolledLRPSegmentor
from mmfss.models.decode_heads.unrolled_lrp_head import start_relevance
from mmfss.models.losses import image_label_loss, labelled_cross_entropy
from mmfss.models.relevance import RelevanceWalk, chain_of, layers_of, record_forward, rules
from tests.references.unrolled_lrp import (
    RESNET18,
    RESNET50,
    golden,
    images,
    label_maps,
    resnet_segmentor,
    vgg16_features,
)
from tests.tiny.unrolled_lrp import RESNET, VGG, build, randomize

RELEVANCES = {
    'cls_head.pool': 'inv_avgpool', 'backbone.layer4.0': 'inv_layer4', 'backbone.layer3.0': 'inv_layer3',
    'backbone.layer2.0': 'inv_layer2', 'backbone.layer1.0': 'inv_layer1', 'backbone.maxpool': 'inv_maxpool',
    'backbone.stem.1': 'inv_bn1'}
NETWORKS = {
    'resnet18_eval': (18, 5, (2, 3, 64, 64), 0, RESNET18, (), 2),
    'resnet50_eval': (50, 3, (1, 3, 64, 96), 2, RESNET50, (), 1),
    'resnet18_train': (18, 5, (3, 3, 64, 64), 1, RESNET18, (1, ), None)}


@pytest.mark.parametrize('name', NETWORKS)
def test_maps(name: str) -> None:
    """In float64, which is the same on every machine: rounding decides whether a ReLU whose input is almost 0 is on.

    In training mode a single such ReLU of the reference, which is of float32, is seen in one pixel of a thousand.
    """
    depth, classes, shape, seed, gains, _, explained = NETWORKS[name]
    expected = golden(name)
    model = resnet_segmentor(depth, classes, seed, gains, chunk=1).double().train(name.endswith('train'))
    x = images(shape, seed).double()
    with torch.no_grad(), model.decode_head.record(x) as record:
        logits = model.classify(x)
        maps = model.decode_head(record, x, logits)
        largest = np.abs(expected['logits']).max()
        np.testing.assert_allclose(logits.numpy(), expected['logits'], rtol=0, atol=1e-4 * largest)
        near(maps, expected['heatmaps'], share=1 if explained is not None else 0.998)
        if explained is None:
            return
        for step, relevance in model.decode_head.walk(*record, start_relevance(logits, [explained])):
            if step in RELEVANCES:
                found = RELEVANCES[step]
                whole = f'rel__{found}' in expected
                near(relevance[0, 0] if whole else relevance[0].sum(1),
                     expected[f'rel__{found}' if whole else f'rel_chsum__{found}'])


def near(found: Tensor, expected: np.ndarray, share: float = 1) -> None:
    """Within 2 % of the standard deviation: relevance is a ratio of small numbers."""
    assert np.mean(np.abs(found.detach().numpy() - expected) < 0.02 * expected.std()) >= share


def test_maps_of_vgg() -> None:
    """From the output of the last pooling to the image, in float64.

    Where two entries of a pooling window are equal up to rounding, rounding decides which of them is the maximum, and
    moves the relevance of all that the window has seen. Four of 811 thousand windows suffice for 7 % of the pixels in
    float32 to be off; with the maxima of float64 none is. (Divisions by almost 0 have no part in it.)
    """
    expected = golden('vgg16_eval')
    backbone = vgg16_features(seed=3).double()
    chain = chain_of(backbone, Namespace(layers=[]))
    with torch.no_grad(), record_forward([layer.module for layer in layers_of(chain)]) as record:
        backbone(images((1, 3, 224, 224), 3).double())
        start = torch.from_numpy(expected['rel__inv_avgpool'])[None, None].double()
        *_, (_, relevance) = RelevanceWalk()(chain, record, start)
    near(relevance[0, 0].sum(0)[::2, ::2], expected['heatmaps'][0, 1])


@pytest.mark.parametrize('name', ['resnet18_eval', 'resnet18_train'])
def test_losses_and_tied_gradients(name: str) -> None:
    """In float64. The published rule has derivatives of the kind 1 / y, which rounding moves by per cents.

    In training mode one of them outweighs all others: a change of the image by 1e-7 halves, doubles or turns the
    gradient. What remains is its direction, and the gradient of the last layer.
    """
    depth, classes, shape, seed, gains, unlabelled, _ = NETWORKS[name]
    expected = golden(name)
    model = resnet_segmentor(depth, classes, seed, gains, chunk=1).double().train(name.endswith('train'))
    target = label_maps(shape[0], classes, shape[2:], seed, unlabelled)
    assert np.array_equal(target.numpy(), expected['seg'])
    logits, maps = model.classify_and_segment(images(shape, seed).double())
    seg = labelled_cross_entropy(maps, target, -1)
    cls = image_label_loss(logits, torch.from_numpy(expected['lab']))
    for part, loss in dict(seg=seg, cls=cls, total=seg + cls).items():
        assert float(loss.detach()) == pytest.approx(float(expected[f'loss_{part}']), rel=3e-5)
    (seg + cls).backward()
    gradients = {key.split('.', 1)[1]: p.grad for key, p in model.named_parameters()}
    for key in (key for key in expected if key.startswith('grad__')):
        reference = expected[key]
        found = gradients[key.removeprefix('grad__')][:len(reference)].numpy()
        size = np.linalg.norm(reference)
        if name.endswith('train') and 'fc' not in key:
            assert np.sum(found * reference) / np.linalg.norm(found) / size > 0.99, key
        else:
            assert np.linalg.norm(found - reference) / size < (1e-3 if 'fc' in key else 0.03), key


@pytest.fixture
def no_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Denominators of almost 0 would show the offset by which the identities are missed."""
    monkeypatch.setattr(rules, 'TINY', 1e-200)


def gradient_x_input(model: UnrolledLRPSegmentor, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    logits = model.classify(x)
    maps = [(x * torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)[0]).sum(1)
            for k in range(logits.shape[1])]
    return torch.stack(maps, 1).detach()


@pytest.mark.parametrize('backbone', [RESNET, dict(RESNET, depth=50, base_channels=1), VGG,
                                      dict(VGG, norm_cfg=dict(type='BN'))])
@pytest.mark.parametrize('size', [(32, 32), (49, 70)])
def test_sum_is_gradient_x_input(no_offsets: None, backbone: dict, size: tuple[int, int]) -> None:
    model = build(backbone, unpool='sum', epsilon=0.).double()
    x = torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = model.encode_decode(x)
    expected = gradient_x_input(model, x)
    torch.testing.assert_close(maps, expected, rtol=1e-6, atol=1e-8 * float(expected.std()))


@pytest.mark.parametrize('backbone', [RESNET, VGG])
def test_relevance_is_conserved(no_offsets: None, backbone: dict) -> None:
    """Layer by layer, where nothing adds a constant."""
    model = build(backbone, unpool='sum', epsilon=0.).double()
    randomize(model, biased=False)
    x = torch.rand(1, 3, 48, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), model.decode_head.record(x) as record:
        logits = model.classify(x)
        sums = {name: relevance.flatten(2).sum(2) for name, relevance in model.decode_head.walk(
            *record, start_relevance(logits, range(4)))}
    assert len(sums) > 10
    for name, found in sums.items():
        torch.testing.assert_close(found, logits.T, rtol=1e-8, atol=1e-10, msg=name)


def test_zennit_agrees() -> None:
    """Epsilon rule of the network with batch norm merged into the convolutions."""
    zennit = pytest.importorskip('zennit', reason='zennit is a test extra: pip install mmfss[tests]')
    from torchvision.models import resnet18
    from zennit.attribution import Gradient
    from zennit.composites import LayerMapComposite
    from zennit.layer import Sum
    from zennit.rules import Epsilon, Norm, Pass
    from zennit.torchvision import ResNetCanonizer
    from zennit.types import Activation, AvgPool, Convolution, Linear
    assert zennit
    model = build(dict(RESNET, stem_channels=64, base_channels=64), unpool='sum', cls_head=dict(
        type='PooledClassifier', in_channels=512, num_classes=4)).double()
    network = resnet18(num_classes=4).double().eval()
    network.load_state_dict({name.split('.', 1)[1]: value for name, value in model.state_dict().items()})
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = model.encode_decode(x)
    composite = LayerMapComposite(
        layer_map=[(Activation, Pass()), (Sum, Norm()), (AvgPool, Norm()), (Convolution, Epsilon(1e-9)),
                   (Linear, Epsilon(1e-9))], canonizers=[ResNetCanonizer()])
    with Gradient(network, composite) as attributor:
        for k in (0, 3):
            _, relevance = attributor(x, lambda out, k=k: torch.eye(4, dtype=torch.float64)[[k]] * out)
            assert float((relevance.sum(1) - maps[:, k]).abs().max()) < 0.02 * float(maps[:, k].std())
