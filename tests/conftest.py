"""What the tests do not look at and every runner spends time on."""
import functools

import pytest
from mmengine.config import config
from mmengine.runner import runner


@pytest.fixture(scope='session', autouse=True)
def quick_runners() -> None:
    """Configs are logged without yapf's layout, four times each, and the environment is collected once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, 'FormatCode', lambda text, **options: (text, True))
        patch.setattr(runner, 'collect_env', functools.cache(runner.collect_env))
        yield
