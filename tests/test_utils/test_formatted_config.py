import copy
import pickle
from pathlib import Path

import pytest
from mmengine.config import Config

from mmfss.utils.config import load_config
from mmfss.utils.formatted_config import FormattedConfig
from mmfss.utils.loaders import fill_loaders

CONFIG = Path(__file__).parents[2] / 'configs' / 'dcama' / 'resnet18_shapes_fold0.py'


@pytest.fixture
def formatted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that were formatted."""
    from mmengine.config import config
    texts: list[str] = []
    original = config.FormatCode

    def count(text: str, **kwargs) -> tuple:
        texts.append(text)
        return original(text, **kwargs)

    monkeypatch.setattr(config, 'FormatCode', count)
    return texts


def test_equals_an_ordinary_config(tmp_path: Path) -> None:
    plain, loaded = Config.fromfile(CONFIG), load_config(CONFIG)
    fill_loaders(plain)
    assert loaded.pretty_text == plain.pretty_text and loaded.filename == plain.filename
    loaded.dump(tmp_path / 'a.py')
    assert Config.fromfile(tmp_path / 'a.py').to_dict() == plain.to_dict()


def test_formatted_once(formatted: list[str]) -> None:
    cfg = FormattedConfig.of(Config(dict(a=1, b=dict(c=[1, 2]))))
    texts = [cfg.pretty_text, cfg.pretty_text, cfg.dump(), copy.deepcopy(cfg).pretty_text]
    assert len(set(texts)) == 1 and len(formatted) == 1
    assert '_formatted' not in cfg and '_formatted' not in texts[0]


def test_changes_are_seen(formatted: list[str]) -> None:
    cfg = FormattedConfig.of(Config(dict(a=1, b=dict(c=[1, 2]))))
    for change in (lambda: cfg.update(a=2), lambda: cfg.b.c.append(3), lambda: setattr(cfg, 'd', None),
                   lambda: cfg.merge_from_dict({'b.c': [4]}), lambda: cfg.pop('a')):
        before = cfg.pretty_text
        change()
        assert cfg.pretty_text != before
        assert cfg.pretty_text == Config(cfg.to_dict()).pretty_text


def test_copies_go_their_own_ways() -> None:
    one, two = (Config(dict(a=value)).pretty_text for value in (1, 2))
    cfg = FormattedConfig.of(Config(dict(a=1)))
    assert cfg.pretty_text == one != two
    other = copy.deepcopy(cfg)
    other.a = 2
    assert (cfg.pretty_text, other.pretty_text) == (one, two)
    assert pickle.loads(pickle.dumps(cfg)).pretty_text == one
