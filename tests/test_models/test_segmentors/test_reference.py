"""The whole DCAMA model gives the logits of the official implementation, from converted weights."""
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from mmfss.converters.published_weights import convert_dcama, convert_file
from mmfss.models import FewShotSegmentor
from mmfss.registry import MODELS
from mmfss.utils.checkpoint import load_model_checkpoint
from tests.references.dcama import assert_coarse, assert_features, assert_logits, episodes, load, official_state_dict

RESNET50 = dict(
    type='FewShotSegmentor', backbone=dict(type='mmpretrain.ResNet', depth=50), head=dict(type='DCAMAHead'))


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> FewShotSegmentor:
    """A model that loads what the converter made of a checkpoint saved from a data-parallel wrapper."""
    folder: Path = tmp_path_factory.mktemp('dcama')
    official = official_state_dict('resnet50')
    torch.save(OrderedDict((f'module.{name}', value) for name, value in official.items()), folder / 'best_model.pt')
    meta = convert_file(convert_dcama, folder / 'best_model.pt', folder / 'converted.pth')
    assert meta == dict(source='best_model.pt', model='DCAMA resnet50', matched_by='name')
    model = MODELS.build(RESNET50)
    load_model_checkpoint(model, folder / 'converted.pth')
    model.eval()
    return model


@pytest.mark.parametrize(('reference', 'batch', 'shots'), [
    ('resnet50_128_1shot_b2', 2, 1),
    ('resnet50_128_3shot_b1', 1, 3),
])
@torch.no_grad()
def test_features_coarse_masks_and_logits(model: FewShotSegmentor, reference: str, batch: int, shots: int) -> None:
    query, support, masks = episodes(batch, shots, side=128)
    expected = load(f'{reference}.npz')
    pyramid = model.extract_feat(query)
    assert_features(pyramid, expected, atol=1e-4)
    encoding = model.encode_support(support, masks).ways[0]
    affinities = model.head.match(pyramid, encoding)
    assert_coarse([model.head.aggregate(affinity, encoding) for affinity in affinities], expected)
    assert_logits(model.logits(query, support, masks), expected)
