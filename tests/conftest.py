import gc
import multiprocessing
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Iterator

import pytest

from mmfss.utils.threads import flush_denormals
from tests.quick_runners import make_runners_quick

# As the commands do.
flush_denormals()


def pytest_collection_finish() -> None:
    """The garbage collector need not visit again and again what was imported: it takes a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()


@pytest.fixture(scope='session', autouse=True)
def quick_runners() -> None:
    with pytest.MonkeyPatch.context() as patch:
        make_runners_quick(patch.setattr)
        yield


@pytest.fixture(scope='session', autouse=True)
def one_process_server() -> Iterator[None]:
    """All that fork processes from a server (data loaders and measurements too) share one, which imports once."""
    multiprocessing.set_forkserver_preload(
        ['mmfss.apis', 'mmfss.engine', 'mmfss.datasets', 'mmfss.evaluation', 'tests.processes'])
    # Now, in the folder of the repository: from a test's own folder it would find the `tests` of another package.
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parents[1])
        forkserver.ensure_running()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseContext, 'set_forkserver_preload', lambda self, names: None)
        yield


@pytest.fixture(scope='module')
def small_segments() -> Iterator[None]:
    """XRAI enlarges every picture to 224 x 224 before it cuts it up, which takes most of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('saliency.core.xrai._FELZENSZWALB_IM_RESIZE', (64, 64))
        patch.setattr('saliency.core.xrai._FELZENSZWALB_MIN_SEGMENT_SIZE', 20)
        yield
