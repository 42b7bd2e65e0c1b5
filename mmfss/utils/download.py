"""Downloads: continued where they were cut, checked, and renamed once they are whole."""
import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Optional
from urllib.parse import urlparse

import torch
from filelock import FileLock

from mmfss.version import __version__
from .files import PathLike
from .progress import Progress

OFFLINE = 'MMFSS_OFFLINE'

_TIMEOUT = 30.  # seconds without a byte
_ATTEMPTS = 5  # in a row that bring nothing new
_PAUSE = 1.  # seconds before the second attempt; doubled before each further one
_CHUNK = 1 << 20
_MB = 10**6
_BUSY = (408, 429, 500, 502, 503, 504)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_RESUME = 'The same command continues where this one stopped.'


class DownloadError(OSError):
    """Error: a file cannot be downloaded, or is not the expected one."""


def offline() -> bool:
    """bool: Whether the user set ``MMFSS_OFFLINE=1``: nothing may be downloaded."""
    return os.environ.get(OFFLINE, '') not in ('', '0')


def download(url: str, target: PathLike, checksum: str = '', size: int = 0) -> Path:
    """Download a file unless it is there.

    The file grows under the name ``<target>.part``. A cut connection is resumed by an HTTP range, at once and also by a
    later call, as long as the server's file is the same one. Several processes may ask for one file: one of them
    downloads, the others wait. The memory needed is one chunk of 1 MiB.

    Args:
        url (str): An ``http://`` or ``https://`` address.
        target (str | Path): The file to make. If it exists, it is taken as it is.
        checksum (str): ``'md5:...'`` or ``'sha256:...'``, whole or its beginning. Empty: not checked.
        size (int): Size in bytes. 0: not checked.

    Returns:
        Path: The target.

    Raises:
        DownloadError: If ``MMFSS_OFFLINE=1`` is set, there is no network, the server refuses, the disk is full, or the
            file is not the expected one. The message says where to put a file that was fetched by other means.

    Example:
        >>> import mmfss
        >>> download('https://example.org/a.bin', mmfss.__file__).name  # it is there already
        '__init__.py'
    """
    target = Path(target).expanduser()
    if target.is_file():
        return target
    if offline():
        raise DownloadError(f'"{url}" was not downloaded: {OFFLINE} is set. {_by_hand(target)}')
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f'.{target.name}.lock')
    with FileLock(lock):
        if not target.is_file():
            part = target.with_name(f'{target.name}.part')
            _Transfer(url, target, part, checksum, size).run()
            _check(part, url, target, checksum, size)
            os.replace(part, target)
    # Whoever holds or makes the lock from now on finds the target.
    lock.unlink(missing_ok=True)
    return target


def fetch_checkpoint(url: str) -> Path:
    """Download a checkpoint into PyTorch's cache, ``$TORCH_HOME/hub/checkpoints``, unless it is there.

    A hash in the name, as in ``resnet50-0676ba61.pth``, is checked: torchvision, timm and OpenMMLab publish the first
    digits of the SHA-256 there.

    Args:
        url (str): An ``http://`` or ``https://`` address.

    Returns:
        Path: The file.

    Raises:
        DownloadError: See :func:`download`.
    """
    name = os.path.basename(urlparse(url).path)
    if not name:
        raise DownloadError(f'The address "{url}" does not end with the name of a file.')
    return download(url, Path(torch.hub.get_dir()) / 'checkpoints' / name, hash_in_name(name))


def hash_in_name(name: str) -> str:
    """Find the beginning of the SHA-256 in the name of a published checkpoint.

    Args:
        name (str): The file's name.

    Returns:
        str: A checksum for :func:`download`; empty if there is none. Eight digits without a letter are a date.

    Example:
        >>> hash_in_name('resnet50-0676ba61.pth'), hash_in_name('model-20230426.pth'), hash_in_name('best.pth')
        ('sha256:0676ba61', '', '')
    """
    found = re.search(r'-([0-9a-f]{8,64})\.\w+$', name)
    return f'sha256:{found[1]}' if found and not re.fullmatch('[0-9]{8}', found[1]) else ''


class _Transfer:
    """Bring a file to its partial name, in as many requests as it takes."""

    def __init__(self, url: str, target: Path, part: Path, checksum: str, size: int) -> None:
        self.url, self.target, self.part, self.size = url, target, part, size
        self.checked = bool(checksum)
        # What the server calls its version of the file, so that no two versions are joined.
        self.tag_file = part.with_name(f'{part.name}.tag')
        self.progress: Optional[Progress] = None

    def run(self) -> None:
        failures, begun = 0, self._have()
        while True:
            before = self._have()
            try:
                if self._request(before):
                    self.tag_file.unlink(missing_ok=True)
                    return
                problem = 'the connection was cut'
            except urllib.error.HTTPError as error:
                if error.code not in _BUSY:
                    raise DownloadError(f'"{self.url}" was not downloaded: the server answers {error.code} '
                                        f'{error.reason}. {_by_hand(self.target)}') from error
                problem = f'the server answers {error.code} {error.reason}'
            except DownloadError:
                raise
            except (OSError, http.client.HTTPException) as error:
                if getattr(error, 'errno', None) in _FULL:
                    raise DownloadError(f'There is no space left for "{self.target}". {_RESUME}') from error
                problem = str(getattr(error, 'reason', None) or error or type(error).__name__)
                if isinstance(error, urllib.error.URLError) and self._have() == begun:
                    raise DownloadError(f'"{self.url}" cannot be reached: {problem}. Is there a network? '
                                        f'{_by_hand(self.target)}') from error
            failures = failures + 1 if self._have() <= before else 0
            if failures == _ATTEMPTS:
                raise DownloadError(f'"{self.url}" was not downloaded: {problem}. {_RESUME}')
            time.sleep(_PAUSE * 2**max(failures - 1, 0))

    def _request(self, have: int) -> bool:
        """Ask for the rest of the file; return whether it is whole."""
        tag = self.tag_file.read_text() if self.tag_file.is_file() else ''
        headers = {'User-Agent': f'mmfss/{__version__}'}
        if have and (tag or self.checked):
            headers.update({'Range': f'bytes={have}-'}, **({'If-Range': tag} if tag else {}))
        try:
            response = urllib.request.urlopen(urllib.request.Request(self.url, headers=headers), timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise
            # Nothing is left to send: the file is whole, or another one.
            if error.headers.get('Content-Range', '').endswith(f'/{have}'):
                return True
            self.part.unlink()
            return False
        with response:
            total = self._receive(response, have)
        return total is None or self._have() >= total

    def _receive(self, response: http.client.HTTPResponse, have: int) -> Optional[int]:
        """Append what the server sends; return the size of the whole file, if it says so."""
        if response.headers.get_content_type() == 'text/html':
            raise DownloadError(f'"{self.url}" gives a web page in place of the file (a quota, a form to fill in?). '
                                f'{_by_hand(self.target)}')
        resumed = response.status == 206 and response.headers.get('Content-Range', '').startswith(f'bytes {have}-')
        start = have if resumed else 0
        length = response.headers.get('Content-Length')
        total = None if length is None else start + int(length)
        self._check_size(total, start)
        tag = response.headers.get('ETag', '')
        self.tag_file.write_text(tag if tag and not tag.startswith('W/') else response.headers.get('Last-Modified', ''))
        if total and self.progress is None:
            self.progress = Progress(-(-total // _MB), f'downloading {self.target.name}', 'MB', start // _MB)
        with open(self.part, 'ab' if resumed else 'wb') as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                if self.progress:
                    whole = total is not None and file.tell() >= total
                    self.progress.update((self.progress.total if whole else file.tell() // _MB) - self.progress.done)
        return total

    def _check_size(self, total: Optional[int], start: int) -> None:
        if total is None:
            return
        if self.size and total != self.size:
            raise DownloadError(f'"{self.url}" has {total:,} bytes, but {self.size:,} were expected: its publisher has '
                                f'changed it. {_by_hand(self.target)}')
        free = shutil.disk_usage(self.part.parent).free
        if total - start > free:
            raise DownloadError(f'"{self.url}" needs {(total - start) / _MB:,.0f} MB more, but "{self.part.parent}" '
                                f'has {free / _MB:,.0f} MB left. {_RESUME}')

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0


def _check(part: Path, url: str, target: Path, checksum: str, size: int) -> None:
    if size and part.stat().st_size != size:
        problem = f'{part.stat().st_size:,} bytes, expected {size:,}'
    else:
        kind, _, expected = checksum.partition(':')
        found = file_digest(part, kind) if kind else ''
        if found.startswith(expected):
            return
        problem = f'{kind} {found[:len(expected)]}, expected {expected}'
    part.unlink()
    raise DownloadError(f'"{url}" is not the file that was published ({problem}), and was removed. Try again. '
                        f'{_by_hand(target)}')


def file_digest(path: PathLike, kind: str = 'sha256') -> str:
    """Compute the checksum of a file.

    Args:
        path (str | Path): The file.
        kind (str): A name that :mod:`hashlib` knows.

    Returns:
        str: Hexadecimal digits.
    """
    digest = hashlib.new(kind)
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _by_hand(target: Path) -> str:
    return f'A file that you fetched by other means belongs to "{target}".'
