"""Downloads from a local server: resumed, checked, refused."""
import errno
import hashlib
import io
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from mmfss.utils import download as module
from mmfss.utils.checkpoint import CheckpointError
from mmfss.utils.download import DownloadError, download, hash_in_name
from tests.servers import Publisher, publisher

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
SHA256 = f'sha256:{hashlib.sha256(CONTENT).hexdigest()}'
MD5 = f'md5:{hashlib.md5(CONTENT).hexdigest()}'


@pytest.fixture
def server() -> Iterator[Publisher]:
    with publisher() as served:
        served.files['/a.bin'] = CONTENT
        yield served


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, '_PAUSE', 0.)
    monkeypatch.delenv('MMFSS_OFFLINE', raising=False)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob('*') if path.is_file())


class TestDownload:

    @pytest.mark.parametrize('checksum', ['', SHA256, SHA256[:15], MD5])
    def test_whole(self, server: Publisher, tmp_path: Path, checksum: str) -> None:
        target = download(f'{server.address}/a.bin', tmp_path / 'new/a.bin', checksum, len(CONTENT))
        assert target.read_bytes() == CONTENT and files(tmp_path) == ['a.bin']

    def test_what_is_there_is_not_asked_for(self, server: Publisher, tmp_path: Path) -> None:
        (tmp_path / 'a.bin').write_bytes(b'own')
        assert download(f'{server.address}/a.bin', tmp_path / 'a.bin', SHA256).read_bytes() == b'own'
        assert not server.requests

    @pytest.mark.parametrize('checksum', ['', SHA256])
    def test_resumes_cut_connections(self, server: Publisher, tmp_path: Path, checksum: str) -> None:
        server.cut_after, server.cuts = 4000, 2
        download(f'{server.address}/a.bin', tmp_path / 'a.bin', checksum)
        assert (tmp_path / 'a.bin').read_bytes() == CONTENT
        assert [wanted for _, wanted in server.requests] == [None, 'bytes=4000-', 'bytes=8000-']

    def test_later_call_resumes(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        server.cut_after, server.cuts = 4000, 1
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module.time, 'sleep', lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            download(f'{server.address}/a.bin', tmp_path / 'a.bin')
        assert (tmp_path / 'a.bin.part').read_bytes() == CONTENT[:4000]
        assert download(f'{server.address}/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT
        assert server.requests[-1] == ('/a.bin', 'bytes=4000-') and files(tmp_path) == ['a.bin']

    def test_two_versions_are_not_joined(self, server: Publisher, tmp_path: Path) -> None:
        server.cut_after, server.cuts = 4000, 1
        new = CONTENT[::-1]
        sleep = module.time.sleep
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module.time, 'sleep', lambda _: (server.files.update({'/a.bin': new}), sleep(0)))
            download(f'{server.address}/a.bin', tmp_path / 'a.bin')
        assert (tmp_path / 'a.bin').read_bytes() == new

    @pytest.mark.parametrize('unable', ['ranges', 'tags'])
    def test_server_that_cannot_resume(self, server: Publisher, tmp_path: Path, unable: str) -> None:
        setattr(server, unable, False)
        server.cut_after, server.cuts = 4000, 1
        assert download(f'{server.address}/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT

    def test_partial_file_that_is_whole(self, server: Publisher, tmp_path: Path) -> None:
        (tmp_path / 'a.bin.part').write_bytes(CONTENT)
        assert download(f'{server.address}/a.bin', tmp_path / 'a.bin', SHA256).read_bytes() == CONTENT
        assert server.requests == [('/a.bin', f'bytes={len(CONTENT)}-')]

    def test_partial_file_that_is_too_long(self, server: Publisher, tmp_path: Path) -> None:
        (tmp_path / 'a.bin.part').write_bytes(CONTENT + b'more')
        assert download(f'{server.address}/a.bin', tmp_path / 'a.bin', SHA256).read_bytes() == CONTENT

    def test_many_ask_for_one_file(self, server: Publisher, tmp_path: Path) -> None:
        threads = [threading.Thread(target=download, args=(f'{server.address}/a.bin', tmp_path / 'a.bin', SHA256))
                   for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.requests) == 1 and files(tmp_path) == ['a.bin']


class TestRefused:

    def test_wrong_checksum(self, server: Publisher, tmp_path: Path) -> None:
        with pytest.raises(DownloadError, match='not the file that was published .*, expected 00000000'):
            download(f'{server.address}/a.bin', tmp_path / 'a.bin', 'sha256:00000000')
        assert not any(name.endswith(('.bin', '.part')) for name in files(tmp_path))

    def test_other_size_is_noticed_before_the_download(self, server: Publisher, tmp_path: Path) -> None:
        with pytest.raises(DownloadError, match='has 10,240 bytes, but 10,241 were expected'):
            download(f'{server.address}/a.bin', tmp_path / 'a.bin', size=len(CONTENT) + 1)
        assert not (tmp_path / 'a.bin.part').exists()

    def test_no_space_announced(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=100))
        with pytest.raises(DownloadError, match='needs 0 MB more, but .* continues where this one stopped'):
            download(f'{server.address}/a.bin', tmp_path / 'a.bin')

    def test_no_space_met(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Full(io.FileIO):
            def write(self, data: Any) -> int:
                super().write(data[:1000])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(module, 'open', lambda path, mode: Full(path, mode), raising=False)
        with pytest.raises(DownloadError, match='no space left'):
            download(f'{server.address}/a.bin', tmp_path / 'a.bin')
        monkeypatch.undo()
        assert download(f'{server.address}/a.bin', tmp_path / 'a.bin').read_bytes() == CONTENT
        assert server.requests[-1][1] == 'bytes=1000-'

    def test_not_found(self, server: Publisher, tmp_path: Path) -> None:
        with pytest.raises(DownloadError, match='answers 404 Not Found.*by other means belongs to ".*b.bin"'):
            download(f'{server.address}/b.bin', tmp_path / 'b.bin')
        assert len(server.requests) == 1

    def test_busy_server(self, server: Publisher, tmp_path: Path) -> None:
        server.status = 503
        with pytest.raises(DownloadError, match='answers 503'):
            download(f'{server.address}/a.bin', tmp_path / 'a.bin')
        assert len(server.requests) == module._ATTEMPTS

    def test_web_page(self, server: Publisher, tmp_path: Path) -> None:
        server.content_type = 'text/html; charset=utf-8'
        with pytest.raises(DownloadError, match='web page in place of the file'):
            download(f'{server.address}/a.bin', tmp_path / 'a.bin')

    def test_no_network(self, tmp_path: Path) -> None:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        with pytest.raises(DownloadError, match='cannot be reached: .* Is there a network[?] A file that you fetched'):
            download(f'http://127.0.0.1:{port}/a.bin', tmp_path / 'a.bin')

    def test_offline(self, server: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv('MMFSS_OFFLINE', '1')
        with pytest.raises(DownloadError, match='MMFSS_OFFLINE is set'):
            download(f'{server.address}/a.bin', tmp_path / 'a.bin')
        assert not server.requests


class TestCheckpoints:

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
        return tmp_path / 'torch/hub/checkpoints'

    def _publish(self, server: Publisher, right: bool = True) -> str:
        buffer = io.BytesIO()
        torch.save(dict(weight=torch.ones(2)), buffer)
        digits = hashlib.sha256(buffer.getvalue()).hexdigest()[:8] if right else 'abad1dea'
        server.files[f'/net-{digits}.pth'] = buffer.getvalue()
        return f'{server.address}/net-{digits}.pth'

    def test_fetched_once(self, server: Publisher, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        url = self._publish(server)
        for _ in range(2):
            assert CheckpointLoader.load_checkpoint(url, 'cpu')['weight'].tolist() == [1, 1]
        monkeypatch.setenv('MMFSS_OFFLINE', '1')
        assert CheckpointLoader.load_checkpoint(url, 'cpu')
        assert len(server.requests) == 1 and files(cache) == [Path(url).name]

    def test_hash_in_the_name(self, server: Publisher, cache: Path) -> None:
        with pytest.raises(DownloadError, match='expected abad1dea'):
            CheckpointLoader.load_checkpoint(self._publish(server, right=False), 'cpu')

    def test_other_content(self, server: Publisher, cache: Path) -> None:
        with pytest.raises(CheckpointError, match='a.bin" is not a checkpoint'):
            CheckpointLoader.load_checkpoint(f'{server.address}/a.bin', 'cpu')

    @pytest.mark.parametrize('name, expected', [
        ('resnet50_a1h-35c100f8.pth', 'sha256:35c100f8'),
        ('mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth', 'sha256:3b2dc3af'),
        ('sam_vit_h_4b8939.pth', ''),
        ('model-20230426.pth', ''),
        ('swin_base_patch4_window12_384_22kto1k.pth', ''),
    ])
    def test_names(self, name: str, expected: str) -> None:
        assert hash_in_name(name) == expected
