"""Measure the page on this machine: start, segmentation, explanation, and several sessions at once.

Starts the server and visits it with Chromium. Prints a table and the load of the machine. The query is a photograph of
640 x 480 pixels with 3 supports (parts of scikit-image's coffee cup), on the default model.

Example:
    python tools/analysis_tools/measure_app.py --seconds 120
"""
import mmfss.commands  # noqa: F401  isort: skip  (sets the threads, before PyTorch)

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Measure the page on this machine.')
    parser.add_argument('--config', help='config of the model, or its name in the model zoo; default: that of the page')
    parser.add_argument('--checkpoint', metavar='FILE', help='its checkpoint, unless it needs none')
    parser.add_argument('--repeats', type=int, default=5, help='segmentations and explanations; default: 5')
    parser.add_argument('--sessions', type=int, default=4, help='sessions at once; default: 4')
    parser.add_argument('--seconds', type=float, default=120, help='how long they work; default: 120')
    parser.add_argument('--port', type=int, default=8765, help='port of the server; default: 8765')
    parser.add_argument('--picture', type=Path, metavar='FILE', help='also save a picture of the page, as JPEG; '
                        'docs/en/images/page.jpg is made so')
    parser.add_argument('--browser', default=shutil.which('chromium') or shutil.which('google-chrome'),
                        metavar='FILE', help='Chromium')
    return parser.parse_args()


def photograph_task() -> Any:
    """Cut a photograph of a cup into a query of 640 x 480 pixels and three supports."""
    import cv2
    import numpy as np
    from skimage.data import coffee

    from mmfss.apis.drawn_masks import mask_in_box
    picture = coffee()
    mask = mask_in_box(picture, (110, 50, 440, 370)).astype(np.uint8)
    query = cv2.resize(picture, (640, 480))
    pairs = [(picture[:, ::-1], mask[:, ::-1]), (picture[20:], mask[20:]), (picture[:, 60:], mask[:, 60:])]
    return query, [(np.ascontiguousarray(image), np.ascontiguousarray(mask)) for image, mask in pairs]


def measure_functions(args: argparse.Namespace) -> dict[str, str]:
    """Measure what the page computes, in this process, warm."""
    from mmfss.apis import FewShotInferencer
    from mmfss.apis.query_study import QueryStudy
    from mmfss.utils.defaults import DEFAULT_MODEL

    query, pairs = photograph_task()
    start = time.perf_counter()
    inferencer = FewShotInferencer(args.config or DEFAULT_MODEL, args.checkpoint, bgr=False)
    figures = {'model loaded': f'{time.perf_counter() - start:.2f} s'}

    def segment() -> QueryStudy:
        return QueryStudy(inferencer, query, inferencer.encode_support({'cup': pairs}))

    segment()
    segmentation, explanation = [], []
    for _ in range(args.repeats):
        start = time.perf_counter()
        study = segment()
        segmentation.append(time.perf_counter() - start)
        start = time.perf_counter()
        study.explain('signed_affex', 'all' if not study.mask.any() else 'prediction')
        explanation.append(time.perf_counter() - start)
    figures['segmentation with 3 supports, median'] = f'{median(segmentation):.2f} s'
    figures['signed AffEx, median'] = f'{median(explanation):.2f} s'
    return figures


def resident(process: subprocess.Popen) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f'/proc/{process.pid}/status').read_text(encoding='utf-8')
    return int(re.search(r'VmRSS:\s+(\d+) kB', status)[1]) / 1024


def settle(page: Any) -> None:
    """Wait until the server has nothing to do for a page; a click before that would interrupt its work."""
    for _ in range(2):
        page.wait_for_timeout(300)
        page.locator('[data-testid=stApp][data-test-script-state=notRunning]').wait_for(timeout=180_000)


def take_picture(page: Any, path: Path) -> None:
    """Segment and explain the example, and save a picture of the page."""
    page.set_viewport_size(dict(width=1200, height=1000))
    page.get_by_role('button', name='Segment', exact=True).click()
    page.get_by_role('button', name='Explain', exact=True).click(timeout=180_000)
    maps = page.get_by_text('signed_affex: support 3')
    maps.wait_for(timeout=180_000)
    page.set_viewport_size(dict(width=1200, height=1900))
    page.wait_for_timeout(3000)
    page.screenshot(path=str(path), type='jpeg', quality=80)


def measure_page(args: argparse.Namespace) -> dict[str, str]:
    """Start the server, visit it, and let several sessions segment and explain at once."""
    from playwright.sync_api import Error, sync_playwright

    model = ['--config', args.config] if args.config else []
    model += ['--checkpoint', args.checkpoint] if args.checkpoint else []
    begin = time.perf_counter()
    server = subprocess.Popen([sys.executable, 'demo/app.py', '--no-browser', '--port', str(args.port), *model],
                              cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    long, url = dict(timeout=180_000), f'http://127.0.0.1:{args.port}'
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=args.browser, args=['--no-sandbox'])
            page = browser.new_page()
            while True:
                try:
                    page.goto(url)
                    break
                except Error:
                    time.sleep(0.1)
            page.get_by_role('heading', name='Segment by example').wait_for(**long)
            figures = {'start to page shell': f'{time.perf_counter() - begin:.1f} s'}
            page.get_by_role('button', name='Segment', exact=True).wait_for(**long)
            figures['start to usable page'] = f'{time.perf_counter() - begin:.1f} s'
            if args.picture is not None:
                take_picture(page, args.picture)
            # Sessions take turns in this process; the server works on them at once
            pages = [page, *(browser.new_context().new_page() for _ in range(args.sessions - 1))]
            for other in pages:
                other.goto(url)
                other.get_by_role('button', name='Segment', exact=True).wait_for(**long)
                settle(other)
            before, highest, rounds, errors = resident(server), 0., 0, 0
            end = time.perf_counter() + args.seconds
            while time.perf_counter() < end:
                for name in ('Segment', 'Explain'):
                    for one in pages:
                        one.get_by_role('button', name=name, exact=True).click(**long)
                    for one in pages:
                        settle(one)
                for one in pages:
                    one.get_by_text('Opacity of the maps').wait_for(**long)
                    errors += one.get_by_test_id('stAlertContentError').count()
                rounds += 1
                highest = max(highest, resident(server))
            figures[f'{args.sessions} sessions, {args.seconds:g} s'] = f'{rounds} rounds, {errors} errors'
            figures['memory of the server before, highest'] = f'{before:.0f} MB, {highest:.0f} MB'
            browser.close()
    finally:
        server.terminate()
        server.wait(20)
    return figures


def main() -> None:
    args = parse_args()
    load = os.getloadavg()[0]
    for measure in (measure_functions, measure_page):
        for name, value in measure(args).items():
            print(f'{name:45} {value}', flush=True)
    print(f'{os.cpu_count()} CPU cores; load before {load:.1f}, after {os.getloadavg()[0]:.1f}')


if __name__ == '__main__':
    main()
