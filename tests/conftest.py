import pytest

from tests.quick_runners import make_runners_quick


@pytest.fixture(scope='session', autouse=True)
def quick_runners() -> None:
    with pytest.MonkeyPatch.context() as patch:
        make_runners_quick(patch.setattr)
        yield
