"""The page in a real browser, against a server in a process of its own."""
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Iterator
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

from tests.test_apis.test_uploads import huge_png
from tests.tiny.app import GREEN, RED, picture

ROOT = Path(__file__).parents[2]
NAMES = ('chromium', 'chromium-browser', 'google-chrome')
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), '')
PATIENCE = 60_000
LONG = dict(timeout=PATIENCE)


def missing() -> str:
    """What the tests need and this machine does not have."""
    for package in ('playwright', 'streamlit', 'streamlit_drawable_canvas'):
        if not any((Path(folder) / package).is_dir() for folder in sys.path):
            return f'the Python package {package} (mmfss[app], mmfss[test])'
    return '' if CHROMIUM else 'Chromium'


if missing() and os.environ.get('CI'):
    raise RuntimeError(f'Continuous integration tests the page in a browser, and there is no {missing()}.')
pytestmark = pytest.mark.skipif(bool(missing()), reason=f'needs {missing()}')


class Server:
    """The page with a tiny model, at a free port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.connections = folder, folder / 'connections.txt'
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', HOME=str(folder))
        self.log = (folder / 'server.txt').open('w')
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'tests.tiny.app', str(folder), str(self.port), str(self.connections)], cwd=ROOT,
            env=environment, stdout=self.log, stderr=subprocess.STDOUT)

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.port}'

    def wait(self) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with socket.socket() as client:
                if client.connect_ex(('127.0.0.1', self.port)) == 0:
                    return
            assert self.process.poll() is None, (self.folder / 'server.txt').read_text()
            time.sleep(0.2)
        raise TimeoutError('The server does not answer.')

    def memory(self) -> float:
        """Resident memory in MB."""
        status = Path(f'/proc/{self.process.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+) kB', status)[1]) / 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


@pytest.fixture(scope='module')
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp('server'))
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


class Visitor:
    """A session in a browser of its own, which counts requests to other machines and errors."""

    def __init__(self, browser: Any, server: Server, width: int = 1440, scheme: str = 'light') -> None:
        self.context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme,
                                           accept_downloads=True)
        self.page = self.context.new_page()
        self.external: list[str] = []
        self.errors: list[str] = []
        self.page.on('request', self._note)
        self.page.on('console', lambda message: self.errors.append(message.text) if message.type == 'error' else None)
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))
        self.page.goto(server.url)
        self.button('Segment').or_(self.page.get_by_text('Give a picture to segment, and')).wait_for(**LONG)

    def settle(self) -> None:
        """Wait until the server has nothing to do for this page: before that, it may be drawn anew."""
        idle = self.page.locator('[data-testid=stApp][data-test-script-state=notRunning]')
        for _ in range(2):
            idle.wait_for(**LONG)
            self.page.wait_for_timeout(250)

    def _note(self, request: Any) -> None:
        address = urlparse(request.url)
        if address.scheme not in ('data', 'blob') and address.hostname != '127.0.0.1':
            self.external.append(request.url)

    def button(self, name: str) -> Any:
        return self.page.get_by_role('button', name=name, exact=True)

    def choose(self, group: str, name: str) -> None:
        self.settle()
        options = self.page.get_by_role('radiogroup', name=group)
        options.locator('label').filter(has_text=re.compile(f'^{name}$')).click()

    def upload(self, label: str, name: str, content: bytes) -> None:
        self.settle()
        box = self.page.get_by_test_id('stFileUploader').filter(has_text=label)
        box.locator('input[type=file]').set_input_files(dict(name=name, mimeType='image/png', buffer=content))
        box.get_by_text(name).wait_for(**LONG)
        self.settle()

    def upload_examples(self, colour: tuple[int, int, int], seed: int = 5) -> None:
        """Choose own pictures, with one example and its mask."""
        self.choose('Pictures', 'Own pictures')
        self.page.get_by_text('Picture to segment', exact=True).wait_for(**LONG)
        self.upload('Picture to segment', 'query.png', png(picture(RED, (30, 10, 70, 40), seed=3)[0]))
        image, _ = picture(colour, seed=seed)
        self.upload('Examples of', 'example.png', png(image))
        self.page.get_by_text('How to give the mask').wait_for(**LONG)

    def segment(self) -> None:
        self.settle()
        self.button('Segment').click(**LONG)
        self.page.get_by_role('heading', name='Segmentation', exact=True).wait_for(**LONG)

    def download(self) -> dict[str, bytes]:
        """The files of the ZIP."""
        self.settle()
        self.page.get_by_role('tab', name='Files').click()
        with self.page.expect_download(**LONG) as download:
            self.button('All files (ZIP)').click()
        with zipfile.ZipFile(download.value.path()) as file:
            return {name: file.read(name) for name in file.namelist()}

    def drag(self, box: tuple[float, float, float, float], until: Any) -> None:
        """Draw on the canvas with the mouse, from one place to another, as shares of its sides.

        A canvas that is not ready yet takes no strokes: they are repeated until they have an effect.
        """
        canvas = self.page.locator('canvas').last
        for attempt in range(6):
            self.settle()
            canvas.scroll_into_view_if_needed()
            area = canvas.bounding_box()
            (left, top, right, bottom), mouse = box, self.page.mouse
            places = [(area['x'] + x * area['width'], area['y'] + y * area['height'])
                      for x, y in ((left, top), ((left + right) / 2, (top + bottom) / 2), (right, bottom))]
            mouse.move(*places[0])
            mouse.down()
            for place in places[1:]:
                mouse.move(*place, steps=4)
            mouse.up()
            try:
                until.wait_for(timeout=10_000)
                return
            except Exception:
                if attempt == 5:
                    raise

    def close(self) -> None:
        assert not self.external and not self.errors, (self.external, self.errors)
        self.context.close()


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format='PNG')
    return buffer.getvalue()


def labels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_from_uploads_to_the_zip(browser: Any, server: Server) -> None:
    """Two sessions with different examples; the first explains a drawn region and moves the scrubber."""
    first, second = Visitor(browser, server), Visitor(browser, server)
    for visitor, colour in ((first, RED), (second, GREEN)):
        visitor.upload_examples(colour)
        visitor.upload('Mask: black', 'mask.png', png(picture(colour)[1] * 255))
        visitor.page.get_by_text('% of the picture').wait_for(**LONG)
    first.segment()
    second.segment()
    # Explain a region that is drawn
    page = first.page
    first.choose('Explained region', 'Box')
    page.get_by_text('Draw a box, or write its sides').wait_for(**LONG)
    explain = first.button('Explain').and_(page.locator(':enabled'))
    first.drag((0.3, 0.15, 0.7, 0.65), explain)
    explain.click()
    page.get_by_text('Opacity of the maps').wait_for(**LONG)
    # Measure, and move to the last state
    first.settle()
    page.get_by_role('tab', name='How true').click()
    first.button('Measure').click()
    state = page.get_by_role('slider', name='State')
    state.wait_for(**LONG)
    before = page.get_by_text('support 1: 0 % of its pixels')
    before.wait_for(**LONG)
    first.settle()
    state.focus()
    page.keyboard.press('End')
    page.get_by_text('support 1: 100 % of its pixels').wait_for(**LONG)
    # The files tell what each session saw
    files, others = first.download(), second.download()
    assert {'mask.png', 'coco.json', 'attributions.npz', 'scores.csv', 'reproduce.py'} <= set(files)
    region = re.search(r"'box:(\d+),(\d+),(\d+),(\d+)'", files['reproduce.py'].decode())
    assert np.abs(np.array([int(side) for side in region.groups()]) - (28.8, 9.6, 67.2, 41.6)).max() <= 2.5
    assert b'IAUC' in files['scores.csv'] and b'miou_loss@1%' in files['scores.csv']
    assert not np.array_equal(labels(files['mask.png']), labels(others['mask.png']))
    assert np.array_equal(labels(files['query.png']), labels(others['query.png']))
    first.close()
    second.close()


@pytest.mark.parametrize('width', [390, 1440])
def test_mask_by_mouse(browser: Any, server: Server, width: int) -> None:
    """A stroke covers the pixels under it, on a phone as on a desktop."""
    visitor = Visitor(browser, server, width)
    visitor.upload_examples(RED)
    visitor.choose('How to give the mask', 'Brush')
    visitor.page.get_by_text('Paint the object.').wait_for(**LONG)
    visitor.drag((0.25, 0.5, 0.6, 0.5), visitor.page.get_by_text('% of the picture'))
    visitor.segment()
    assert visitor.page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')
    rows, columns = np.nonzero(labels(visitor.download()['supports/1_1_mask.png']))
    assert abs(rows.mean() - 32) < 2 and columns.min() < 26 and columns.max() > 55
    visitor.close()


def test_wrong_files_are_told(browser: Any, server: Server) -> None:
    visitor = Visitor(browser, server)
    visitor.upload_examples(RED)
    page = visitor.page
    before = server.memory()
    visitor.upload('Picture to segment', 'huge.png', huge_png())
    page.get_by_text('huge.png has 10000 x 10000 pixels, more than the limit').wait_for(**LONG)
    assert server.memory() - before < 200
    visitor.upload('Picture to segment', 'text.jpg', b'no picture')
    page.get_by_text('text.jpg is not an image').wait_for(**LONG)
    visitor.upload('Mask: black', 'small.png', png(np.ones((5, 7), np.uint8) * 255))
    page.get_by_text('The mask small.png has 7 x 5 pixels, but its picture has 96 x 64').wait_for(**LONG)
    visitor.close()


def test_looks(browser: Any, server: Server) -> None:
    """Nothing is wider than the screen; if MMFSS_SCREENSHOTS names a folder, pictures for people are saved there."""
    folder = os.environ.get('MMFSS_SCREENSHOTS')
    every = [(width, scheme) for width in (390, 1440) for scheme in ('light', 'dark')]
    for width, scheme in every if folder else every[::3]:
        visitor = Visitor(browser, server, width, scheme)
        visitor.segment()
        visitor.settle()
        visitor.button('Explain').click()
        visitor.page.get_by_text('Opacity of the maps').wait_for(**LONG)
        assert visitor.page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')
        if folder:
            visitor.page.set_viewport_size(dict(width=width, height=2600))
            visitor.page.wait_for_timeout(1500)
            visitor.page.screenshot(path=str(Path(folder) / f'page_{width}_{scheme}.png'))
        visitor.close()


def test_the_server_asks_no_other_machine(server: Server) -> None:
    """Runs last: the guard has watched the whole module."""
    assert server.process.poll() is None
    assert not server.connections.exists(), server.connections.read_text()
