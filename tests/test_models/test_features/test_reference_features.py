"""Features equal those that the official DCAMA implementation takes from the same weights."""
import pytest
import torch

from mmfss.converters.published_weights import convert_dcama
from mmfss.models.features import build_feature_reader
from mmfss.registry import MODELS
from tests.references.dcama import assert_features, episodes, load, official_state_dict

SWIN_B = dict(type='mmpretrain.SwinTransformer', arch='base', img_size=384, window_size=12)


@pytest.mark.parametrize(('model', 'backbone', 'reference', 'side'), [
    ('resnet101', dict(type='mmpretrain.ResNet', depth=101), 'features_resnet101_128', 128),
    ('resnet101', dict(type='mmseg.ResNet', depth=101), 'features_resnet101_128', 128),
    ('swin', SWIN_B, 'features_swin_384', 384),
], ids=['mmpretrain_resnet101', 'mmseg_resnet101', 'mmpretrain_swin_b'])
@torch.no_grad()
def test_features(model: str, backbone: dict, reference: str, side: int) -> None:
    network = MODELS.build(backbone)
    weights, _ = convert_dcama(official_state_dict(model))
    weights = {name.removeprefix('backbone.'): value for name, value in weights.items() if name.startswith('backbone.')}
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.endswith(('num_batches_tracked', 'relative_position_index')) for name in missing)
    network.eval()
    query = episodes(1, 1, side)[0]
    assert_features(build_feature_reader(None, network)(network, query), load(f'{reference}.npz'), atol=2e-4)
