"""Published ScaleProtoSeg models: converted, they compute what the official code computes."""
import gzip
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmfss.converters.scaleproto_weights import OfficialModel, convert_scaleproto, read_official
from mmfss.models import ScaleProtoSegmentor
from mmfss.registry import MODELS, register_all_modules
from mmfss.utils.checkpoint import CheckpointError, check_state_dict
from tests.references.scaleproto_golden import (
    DATA,
    SEED,
    C,
    D,
    K,
    M,
    drawn_prototypes,
    golden,
    scale_ids,
    stage2_head,
)
from tests.references.seeded import seeded_array, seeded_image, seeded_state_dict

GAINS = [('*.increase.conv.weight', 0.5), ('*.aspp.c?.weight', 2.0), ('*.conv.weight', 1.4)]


def official_weights() -> dict[str, Tensor]:
    """Weights of the reference model under the official names."""
    shapes = json.loads(gzip.decompress((DATA / 'manifest_r50.json.gz').read_bytes()))
    drawn = seeded_state_dict({name: shape for name, shape in shapes.items()
                               if name.startswith('features.') and not name.endswith('num_batches_tracked')}, SEED,
                              GAINS)
    weights = {name: torch.from_numpy(value) for name, value in drawn.items()}
    vectors = drawn_prototypes()
    weights['prototype_vectors'] = vectors[..., None, None]
    weights['ones'] = torch.ones_like(weights['prototype_vectors'])
    own = torch.arange(4 * C * M) // M % C == torch.arange(C)[:, None]
    noise = torch.from_numpy(seeded_array('last_layer.weight', (C, 4 * C * M), SEED))
    weights['last_layer.weight'] = torch.where(own, 1., -0.5) + 0.1 * noise
    assert set(weights) == {name for name in shapes if not name.endswith('num_batches_tracked')}
    return weights


def segmentor(depth: int = 50, **changes) -> ScaleProtoSegmentor:
    register_all_modules(init_default_scope=True)
    return MODELS.build(
        dict(
            type='ScaleProtoSegmentor',
            backbone=dict(
                type='DeepLabResNet', depth=depth, num_stages=4, out_indices=(3, ), strides=(1, 2, 1, 1),
                dilations=(1, 1, 2, 4), style='caffe', contract_dilation=False,
                norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True),
            decode_head=dict(type='ScaleProtoHead', in_channels=2048, num_classes=C, scale_channels=D,
                             prototypes_per_scale=M),
            test_cfg=dict(mode='whole'), **changes))


@pytest.fixture(scope='module')
def reference() -> dict[str, np.ndarray]:
    return golden('model_r50')


@pytest.fixture(scope='module')
def converted() -> ScaleProtoSegmentor:
    model = segmentor(msc_scales=(0.5, 0.75))
    state_dict, meta = convert_scaleproto(OfficialModel(official_weights()))
    assert meta == dict(model='ScaleProtoSeg', stage=1, prototypes=40)
    check_state_dict(model, state_dict, 'reference')
    model.load_state_dict(state_dict, strict=False)
    return model.eval()


def image() -> Tensor:
    return torch.from_numpy(seeded_image('image', (2, 3, 65, 65), SEED))


@torch.no_grad()
def test_whole_model(converted: ScaleProtoSegmentor, reference: dict[str, np.ndarray]) -> None:
    head, pyramid = converted.decode_head, converted.extract_feat(image())
    maps = head.embeddings(pyramid)
    np.testing.assert_allclose(maps[0], reference['aspp_out'], atol=5e-5)
    np.testing.assert_allclose(maps[3], reference['msc_max'], atol=5e-5)
    z = maps[0].sigmoid()
    np.testing.assert_allclose(torch.cat(head.distances(z), 1), reference['distances'].astype(np.float32), atol=2e-3)
    np.testing.assert_allclose(head.classify(z).movedim(1, -1), reference['logits'], atol=1e-4)
    np.testing.assert_allclose(head(pyramid).movedim(1, -1), reference['msc_logits_eval'], atol=1e-4)
    for place, member in enumerate(maps):
        logits = head.classify(member.sigmoid()).movedim(1, -1)
        np.testing.assert_allclose(logits, reference[f'msc_train_logits_{place}'], atol=1e-4)


@torch.no_grad()
def test_amp(converted: ScaleProtoSegmentor, reference: dict[str, np.ndarray]) -> None:
    """The backbone may run in bfloat16; what prototypes do is float32."""
    with torch.autocast('cpu', torch.bfloat16):
        logits = converted.decode_head(converted.extract_feat(image()))
    assert logits.dtype is torch.float32
    agree = (logits.argmax(1).numpy() == reference['msc_logits_eval'].argmax(-1)).mean()
    assert agree > 0.9


class Official(nn.Module):
    """Shaped like a published model; its class must not be needed to read it."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in weights.items():
            module, *parts = self, *name.split('.')
            for part in parts[:-1]:
                module = module._modules.setdefault(part, nn.Module())
            module.register_parameter(parts[-1], nn.Parameter(value))


def test_pickled_stage_2(tmp_path: Path) -> None:
    """A model with a class that has lost all its prototypes."""
    stage2, pushed = golden('stage2'), golden('push')
    weights = {'prototype_vectors': torch.from_numpy(stage2['prototype_vectors']),
               'last_layer_group.weight': torch.from_numpy(stage2['last_layer_group'])}
    start = 0
    for k, n in enumerate(stage2['group_sizes']):
        flat = stage2['group_projection'][start:start + K * n]
        weights[f'group_projection.{k}.weight'], start = torch.from_numpy(flat.reshape(K, n)), start + K * n
    model = Official(weights)
    model.prototype_class_identity = nn.functional.one_hot(
        torch.from_numpy(pushed['prototype_class_after']).long(), C).float()
    model.scale_num_prototypes = {s: tuple(r) for s, r in enumerate(pushed['scale_ranges_after'].tolist())}
    torch.save(model, tmp_path / 'final-group.pth')
    official = read_official(tmp_path / 'final-group.pth')
    assert official.proto_scale.equal(scale_ids(pushed['scale_ranges_after']))
    state_dict, meta = convert_scaleproto(official)
    assert (meta['stage'], meta['prototypes']) == (2, 27)
    head = stage2_head()
    for name, value in state_dict.items():
        own = head.state_dict()[name.removeprefix('decode_head.')]
        torch.testing.assert_close(value, own, atol=1e-6, rtol=0)


def test_state_dict_file(tmp_path: Path) -> None:
    weights = official_weights()
    torch.save(dict(state_dict={f'module.{name}': value for name, value in weights.items()}), tmp_path / 'a.pth')
    state_dict, _ = convert_scaleproto(read_official(tmp_path / 'a.pth'))
    assert state_dict['decode_head.prototypes'].shape == (40, D)
    weights['prototype_vectors'] = weights['prototype_vectors'][:39]
    with pytest.raises(CheckpointError, match='39 prototypes cannot be dealt evenly to 5 classes and 4 scales'):
        convert_scaleproto(OfficialModel(weights))


class Evil:

    def __reduce__(self):
        return os.system, ('touch evil',)


def test_nothing_in_the_file_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(dict(evil=Evil(), weight=torch.zeros(1)), 'bad.pth')
    with pytest.raises(CheckpointError, match='no prototype_vectors|1 unknown entries: weight'):
        convert_scaleproto(read_official('bad.pth'))
    Path('worse.pth').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match='worse.pth'):
        read_official('worse.pth')
    assert not Path('evil').exists()


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='missing.pth" does not exist'):
        read_official(tmp_path / 'missing.pth')
    weights = official_weights()
    weights['features.base.layer2.block1.other.conv.weight'] = torch.zeros(1)
    with pytest.raises(CheckpointError, match='1 unknown entries: features.base.layer2.block1.other'):
        convert_scaleproto(OfficialModel(weights))


def test_models_of_one_scale() -> None:
    weights = official_weights()
    classes = torch.arange(40) // 8
    with pytest.raises(CheckpointError, match='but not the scale .scale_num_prototypes., as ProtoSeg'):
        convert_scaleproto(OfficialModel(weights, proto_class=classes))
    without = {name: value for name, value in weights.items() if '.aspp.' not in name}
    with pytest.raises(CheckpointError, match='no convolutions of scales .features.base.aspp.c0'):
        convert_scaleproto(OfficialModel(without))
