"""Reference numbers of the official HSNet and DMTNet implementations, and the weights and inputs they belong to.

They are under ``tests/data/hsnet`` and ``tests/data/dmtnet``. ``probe(name, x)`` contracts the channels of x with a
drawn vector; the reference holds probes where the tensors would be large.
"""
import gzip
import json
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from torch import Tensor

from mmfss.converters.published_weights import convert_dmtnet, convert_file, convert_hsnet
from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS
from mmfss.utils.checkpoint import load_model_checkpoint
from tests.references.seeded import seeded_array, seeded_image, seeded_mask, seeded_state_dict

DATA = Path(__file__).parents[1] / 'data'
RESNET_GAINS = (('backbone*bn3.weight', 0.5), ('backbone*downsample.0.weight', 1.0), ('backbone*conv*.weight', 1.41),
                ('hpn_learner.decoder*.weight', 1.41))
VGG_GAINS = (('backbone.features*.weight', 1.41), ('hpn_learner.decoder*.weight', 1.41))
AFFEX_GAINS = (('backbone.*bn3.weight', 0.45), ('backbone.*downsample.1.weight', 0.9), ('backbone.*conv*.weight', 1.41),
               ('hpn_learner.encoder*.weight', 1.41), ('hpn_learner.decoder*.weight', 1.41))
GAINS = dict(resnet50=RESNET_GAINS, vgg16=VGG_GAINS)
BACKBONES = dict(
    resnet50=dict(type='mmpretrain.ResNet', depth=50), vgg16=dict(type='mmpretrain.VGG', depth=16))
CONVERTERS = dict(hsnet=convert_hsnet, dmtnet=convert_dmtnet)
FLIPPED_PIXELS = 1e-3
"""Share of pixels whose class may differ: logits are equal to about 1e-5, some are closer to each other than that."""


def load(method: str, name: str) -> dict[str, Any]:
    if name.endswith('.gz'):
        return json.loads(gzip.decompress((DATA / method / name).read_bytes()))
    return dict(np.load(DATA / method / f'{name}.npz'))


def official_state_dict(method: str, backbone: str, seed: int, gains: Sequence[tuple[str, float]] = ()) -> dict:
    """Weights under official names, without the classifier."""
    manifest = load(method, f'manifest_{backbone}.json.gz')
    arrays = seeded_state_dict(manifest, seed, gains or GAINS[backbone])
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def build_model(method: str, backbone: str, seed: int, folder: Path, gains: Sequence[tuple[str, float]] = (),
                **head: Any) -> FewShotSegmentor:
    """A model that loads what the converter made of a checkpoint saved from a data-parallel wrapper."""
    official = {f'module.{name}': value for name, value in official_state_dict(method, backbone, seed, gains).items()}
    torch.save(official, folder / 'official.pt')
    convert_file(CONVERTERS[method], folder / 'official.pt', folder / 'converted.pth')
    types = dict(hsnet='HSNetHead', dmtnet='DMTNetHead')
    model = MODELS.build(dict(
        type='FewShotSegmentor', backbone=BACKBONES[backbone], features=dict(num_levels=3),
        head=dict(type=types[method], **head)))
    load_model_checkpoint(model, folder / 'converted.pth')
    (folder / 'official.pt').unlink()
    (folder / 'converted.pth').unlink()
    return model.eval()


def episodes(batch: int, shots: int, side: int, seed: int, waves: bool = False) -> dict[str, Tensor]:
    """Images and masks of B one-way episodes; ``target`` is the query's mask, (B, S, S)."""
    masks_shape = (batch, shots, side, side)
    masks = seeded_image('support_masks', masks_shape, seed) > 0 if waves else seeded_mask(
        'support_masks', masks_shape, seed)
    arrays = dict(
        query=seeded_image('query_img', (batch, 3, side, side), seed),
        support=seeded_image('support_imgs', (batch, shots, 3, side, side), seed)[:, None],
        masks=masks[:, None].astype(np.float32),
        target=seeded_mask('query_mask', (batch, side, side), seed))
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def probe(name: str, x: Tensor, axis: int = 1) -> np.ndarray:
    vector = torch.from_numpy(seeded_array(f'probe.{name}', (x.shape[axis], ), 0))
    return (torch.tensordot(x.detach(), vector, ([axis], [0])) / x.shape[axis]**0.5).numpy()


def assert_close(ours: Any, expected: np.ndarray, atol: float, what: str = '') -> None:
    ours = ours.detach().numpy() if isinstance(ours, Tensor) else np.asarray(ours)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=atol, err_msg=what)


def assert_masks(ours: Tensor, expected: np.ndarray) -> None:
    assert ours.shape == expected.shape
    assert (ours.numpy() != expected).mean() <= FLIPPED_PIXELS


def assert_levels(evidence: Sequence[Tensor], expected: dict[str, np.ndarray], steps: Sequence[int], atol: float,
                  layers: Sequence[int], side: int = 0, prefix: str = 'corr') -> None:
    """Compare the correlations (B, K, P, ...) with one shot: a sample, and the means over support and query."""
    layers_left = iter(evidence)
    for level, count, step in zip('432', layers, steps):
        stack = torch.stack([next(layers_left)[:, 0, side] for _ in range(count)], dim=1)
        key = f'{prefix}_l{level}'
        assert_close(stack[:, :, ::step, ::step, ::step, ::step], expected[key], atol, key)
        assert_close(stack.mean((-2, -1)), expected[f'{key}_qmean'], atol, key)
        assert_close(stack.mean((2, 3)), expected[f'{key}_smean'], atol, key)


def assert_gradients(model: FewShotSegmentor, names: dict[str, str], expected: dict[str, np.ndarray],
                     rtol: float = 2e-3) -> None:
    """Compare gradients; ``names`` maps official names to ours."""
    parameters = dict(model.named_parameters())
    gradients = [parameters[names[name]].grad for name in expected['grad_names'].tolist()]
    norms = np.array([float(gradient.norm()) for gradient in gradients])
    dots = np.array([
        float((gradient * torch.from_numpy(seeded_array(f'probe.{name}', gradient.shape, 0))).sum())
        for name, gradient in zip(expected['grad_names'].tolist(), gradients)
    ])
    for ours, key in ((norms, 'grad_norm'), (dots, 'grad_dot')):
        assert_close(ours, expected[key], rtol * np.abs(expected[key]).max(), key)
