"""Safe unpacking of published archives."""
import re
import shutil
import tarfile
import zipfile
import zlib
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Callable, Iterator, NamedTuple

from mmfss.utils.download import DownloadError
from mmfss.utils.files import PathLike
from mmfss.utils.progress import Progress

_MB = 10**6


class Member(NamedTuple):
    """One file of an archive: its name, its size in bytes, and a function that opens it."""
    name: str
    size: int
    open: Callable[[], IO[bytes]]


@contextmanager
def archive_members(path: PathLike) -> Iterator[Iterator[Member]]:
    """Read the files of a zip or tar archive, compressed or not, one after the other.

    Each file is to be read before the next one is asked for.

    Args:
        path (str | Path): The archive.

    Yields:
        Iterator[Member]: Its files in order, without folders.

    Raises:
        DownloadError: If the archive is damaged, or holds links or devices.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield (Member(info.filename, info.file_size, partial(archive.open, info))
                       for info in archive.infolist() if not info.is_dir())
        else:
            with tarfile.open(path, 'r|*') as archive:
                yield _tar_members(archive, path)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DownloadError(f'The archive "{path}" is damaged ({error}): delete it, and try again.') from error


def _tar_members(archive: tarfile.TarFile, path: PathLike) -> Iterator[Member]:
    for member in archive:
        if member.isfile():
            yield Member(member.name, member.size, partial(archive.extractfile, member))
        elif not member.isdir():
            raise DownloadError(f'The archive "{path}" holds "{member.name}", which is no file: it is not unpacked.')


def unpack(archive: PathLike, folder: PathLike, files: str = r'^(.+)$') -> int:
    """Unpack the wanted files of an archive.

    Every file is written to a temporary name and renamed. A file of the right size that is there already stays, so an
    interrupted call continues.

    Args:
        archive (str | Path): A zip or tar file.
        folder (str | Path): Where to unpack.
        files (str): Pattern of the wanted names; its group is the path below the folder.

    Returns:
        int: Number of wanted files.

    Raises:
        DownloadError: If the archive is damaged, holds none of the files, names a path outside the folder, or the disk
            is full.
    """
    folder, count, done = Path(folder), 0, 0
    progress = Progress(-(-_check_space(archive, folder, files) // _MB), f'unpacking {Path(archive).name}', 'MB')
    with archive_members(archive) as members:
        for member in members:
            found = re.search(files, member.name)
            if found is None:
                continue
            _write(member, folder / safe_path(found[1], archive))
            count, done = count + 1, done + member.size
            progress.update(min(done // _MB, progress.total - 1) - progress.done)
    progress.update(progress.total - progress.done)
    if not count:
        raise DownloadError(f'The archive "{archive}" holds none of the expected files ({files}): delete it, and try '
                            'again.')
    return count


def safe_path(name: str, archive: PathLike) -> PurePosixPath:
    """Check that the name of a file in an archive stays below the folder where it is unpacked.

    Args:
        name (str): The name.
        archive (str | Path): The archive, for the error.

    Returns:
        PurePosixPath: The relative path.

    Raises:
        DownloadError: If it is absolute or climbs out of the folder.

    Example:
        >>> safe_path('train2014/a.jpg', 'train2014.zip').name
        'a.jpg'
    """
    path = PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts or re.search(r'[\\:\0]', name):
        raise DownloadError(f'The archive "{archive}" names the file "{name}", which would lie outside of the folder: '
                            'it is not unpacked.')
    return path


def _write(member: Member, target: Path) -> None:
    if target.is_file() and target.stat().st_size == member.size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f'.{target.name}.part')
    try:
        # Not flushed file by file as results are: a benchmark has up to a hundred thousand.
        with member.open() as source, open(temporary, 'wb') as file:
            shutil.copyfileobj(source, file, 1 << 20)
        temporary.replace(target)
    except OSError as error:
        raise DownloadError(f'"{target}" cannot be written ({error.strerror or error}). Make room, or choose another '
                            '--data-root; the same command continues where this one stopped.') from error
    finally:
        temporary.unlink(missing_ok=True)


def _check_space(archive: PathLike, folder: Path, files: str) -> int:
    """Check the space for what is not there yet; return the size of all wanted files.

    A tar has no list of its files. Its own size is returned, and a full disk is met on writing.
    """
    if not zipfile.is_zipfile(archive):
        return Path(archive).stat().st_size
    with zipfile.ZipFile(archive) as opened:
        sizes = {found[1]: info.file_size for info in opened.infolist() if (found := re.search(files, info.filename))}
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    missing = sum(size for name, size in sizes.items() if not (folder / name).is_file())
    free = shutil.disk_usage(existing).free
    if missing > free:
        raise DownloadError(f'"{archive}" holds {missing / _MB:,.0f} MB of files more, but "{existing}" has '
                            f'{free / _MB:,.0f} MB left. Make room, and run the command again.')
    return sum(sizes.values())
