"""Which PyTorch `make setup` chooses, told by a dry run."""
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Iterator

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which('curl') is None, reason='the script asks for the index by curl')


class _Index(BaseHTTPRequestHandler):

    def do_GET(self) -> None:
        self.send_response(200 if self.path == '/whl/torch/' else 404)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@pytest.fixture(scope='module')
def index() -> Iterator[str]:
    server = HTTPServer(('127.0.0.1', 0), _Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def plan(tmp_path: Path, driver: bool = False, status: int = 0, **environment: str) -> str:
    """Run the script on a Linux machine with or without an NVIDIA driver."""
    for name, code in (('nvidia-smi', 0 if driver else 1), ('uname', 0)):
        tool = tmp_path / name
        tool.write_text(f'#!/bin/sh\n[ {name} = uname ] && echo "${{SYSTEM:-Linux}}"\nexit {code}\n')
        tool.chmod(0o755)
    done = subprocess.run(
        ['bash', ROOT / '.dev_scripts/setup.sh'], capture_output=True, text=True, timeout=60,
        env=dict(os.environ, PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', VENV=str(tmp_path / 'venv'),
                 DRY_RUN='1', **{'TORCH': 'auto', **environment}))
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_without_a_driver(tmp_path: Path, index: str) -> None:
    text = plan(tmp_path, TORCH_INDEX=f'{index}/whl')
    assert 'TORCH=cpu, because there is no NVIDIA driver' in text
    assert 'lock-torch-plain.txt requirements/lock.txt: about 2.5 GB on the disk; 3 to 10 minutes' in text
    text = plan(tmp_path, TORCH_INDEX=f'{index}/nowhere')
    assert 'TORCH=lock, because there is no NVIDIA driver, but' in text and 'did not answer within 5 seconds' in text


def test_with_a_driver_and_elsewhere(tmp_path: Path, index: str) -> None:
    text = plan(tmp_path, driver=True, TORCH_INDEX=f'{index}/whl')
    assert 'TORCH=lock, because there is an NVIDIA driver' in text and 'lock-torch.txt requirements/lock.txt' in text
    text = plan(tmp_path, SYSTEM='Darwin', TORCH_INDEX=f'{index}/whl')
    assert 'this is not Linux' in text and 'lock-torch-plain.txt requirements/lock.txt' in text


@pytest.mark.parametrize('choice, lock', [('cpu', 'lock-torch-plain.txt'), ('lock', 'lock-torch.txt'),
                                          ('keep', 'installing requirements/lock.txt')])
def test_choices(tmp_path: Path, choice: str, lock: str) -> None:
    text = plan(tmp_path, TORCH=choice)
    assert lock in text and 'because' not in text


def test_unknown_choice(tmp_path: Path) -> None:
    assert 'TORCH=gpu is none of cpu, lock and keep' in plan(tmp_path, status=1, TORCH='gpu')


def test_a_later_run_keeps_the_choice(tmp_path: Path) -> None:
    (tmp_path / 'venv').mkdir()
    (tmp_path / 'venv/.installed').write_text('cpu 1 2\n')
    assert 'lock-torch-plain.txt' in plan(tmp_path, TORCH_INDEX='http://127.0.0.1:9/none')


def test_locks_without_cuda_agree_with_the_others() -> None:
    plain, cuda = ((ROOT / f'requirements/{name}.txt').read_text() for name in ('lock-torch-plain', 'lock-torch'))
    versions = [line for line in plain.splitlines() if '==' in line]
    assert len(versions) == 2 and set(versions) <= set(cuda.splitlines())
