"""The configs of INSID3: the published setting, and a black image that is black."""
from pathlib import Path

import pytest
from mmengine.config import Config

from mmfss.models.features.debiased import DebiasedFeatures

FILES = sorted((Path(__file__).parents[3] / 'configs/insid3').glob('*.py'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_black_is_normalized_as_images_are(path: Path) -> None:
    cfg = Config.fromfile(path).model
    reader = DebiasedFeatures(mean=cfg.data_preprocessor.mean, std=cfg.data_preprocessor.std)
    options = {key: value for key, value in cfg.features.items() if key in ('mean', 'std')}
    assert DebiasedFeatures(**options).black == reader.black


@pytest.mark.parametrize('path', FILES[:8], ids=lambda path: path.stem)
def test_published_setting(path: Path) -> None:
    assert path.stem.startswith('dinov3-l_')
    cfg = Config.fromfile(path)
    assert cfg.model.features.num_components == 500
    assert cfg.model.features.reader == dict(type='TIMMFeatures', scales=[1], indices=[-1], norm=True)
    assert cfg.model.head == dict(type='INSID3Head', similarity=0.6, merge_threshold=0.2)
    assert cfg.test_dataloader.dataset.pipeline[0].transforms[-1].scale == (1024, 1024)
    assert cfg.test_dataloader.dataset.sampler.type == 'PublishedProtocolSampler'
