"""Names of files, classes and keys: comparison by appearance, safe display, valid file names, suggestions."""
import difflib
import hashlib
import os
import re
import unicodedata
from functools import lru_cache
from typing import Dict, Iterable, Sequence

# What systems and programs leave in folders; a leading dot is looked at apart.
_CLUTTER = ('__macosx', 'thumbs.db', 'desktop.ini', '@eadir', '$recycle.bin', 'system volume information', 'lost+found')
# Bytes of a file name: file systems allow 255, and suffixes and temporary names need some of them.
MAX_BYTES = 240


def normal_name(name: str) -> str:
    """Return the name in Unicode's composed form (NFC), in which names that look alike are equal.

    macOS and archives made there store "é" as "e" and an accent (NFD), other systems and most editors as one letter.
    """
    return name if name.isascii() else unicodedata.normalize('NFC', name)


def is_clutter(name: str) -> bool:
    """Check whether a name is hidden (``.DS_Store``, ``._a.jpg``) or left by a system (``__MACOSX``, Thumbs.db)."""
    return name.startswith('.') or name.lower() in _CLUTTER


def list_names(folder: str, suffixes: Sequence[str] = (), folders: bool = False) -> Dict[str, str]:
    """List the files or the folders in a folder, without hidden ones and leftovers of operating systems.

    Args:
        folder (str): The folder.
        suffixes (Sequence[str]): Ends of the wanted names in lower case, which names may have in upper
            case; any by default.
        folders (bool): List folders instead of files.

    Returns:
        dict[str, str]: The name on the disk by the composed name (see :func:`normal_name`), sorted by the latter.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If two names look alike.
    """
    found: Dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_clutter(entry.name) or entry.is_dir() != folders:
                continue
            if suffixes and not entry.name.lower().endswith(tuple(suffixes)):
                continue
            name = normal_name(entry.name)
            if name in found:
                pair = ' and '.join(sorted((ascii(entry.name), ascii(found[name]))))
                raise ValueError(f'"{visible(folder)}" holds two names that look alike, {pair}. Rename one of them.')
            found[name] = entry.name
    return dict(sorted(found.items()))


def real_path(path: str) -> str:
    """Find a file by a name that looks like its own.

    Args:
        path (str): Path in any Unicode form.

    Returns:
        str: The path on the disk; ``path`` itself if it exists, is plain ASCII, or nothing looks like it.
    """
    if path.isascii() or os.path.lexists(path):
        return path
    folder, name = os.path.split(path)
    if not name or folder == path:
        return path
    folder = real_path(folder)
    try:
        known = _real_names(folder or '.', os.stat(folder or '.').st_mtime_ns)
    except OSError:
        return path
    return os.path.join(folder, known.get(normal_name(name), name))


@lru_cache(maxsize=64)
def _real_names(folder: str, changed: int) -> Dict[str, str]:
    """Map composed names to names on the disk; ``changed``, the folder's time, lets a changed folder be read again."""
    return {normal_name(name): name for name in os.listdir(folder)}


def visible(text: str) -> str:
    r"""Show a text with escapes for what cannot be seen or printed: byte order marks, control characters, accents that
    are characters of their own, bytes that are no UTF-8.

    .. code-block:: python

        print(visible('\ufeffcat'))     # \ufeffcat
    """
    return ''.join(ascii(character)[1:-1] if _is_hidden(character) else character for character in text)


def _is_hidden(character: str) -> bool:
    # Combining classes from 200 on are accents; those below belong to the spelling of many scripts.
    return character != ' ' and (unicodedata.category(character)[0] in 'CZ' or unicodedata.combining(character) >= 200)


def few(items: Iterable[str], limit: int = 5) -> str:
    """Format the first items in quotes, and how many more there are: ``"a", "b" and 17 more``."""
    items = list(items)
    text = ', '.join(f'"{visible(item)}"' for item in items[:limit])
    return f'{text} and {len(items) - limit} more' if len(items) > limit else text


def file_name(stem: str, suffix: str = '') -> str:
    """Turn any text into a file name.

    Slashes, control characters and bytes that are no UTF-8 become ``%`` and their code. A name of more than
    ``MAX_BYTES`` bytes is cut and ends in eight digits of its checksum, so that different texts keep different names.

    Args:
        stem (str): The text; most names stay as they are.
        suffix (str): End of the name, e.g. ``'.png'``.

    Returns:
        str: The name; the same for the same text.
    """
    name = re.sub(r'[/\\\x00-\x1f\x7f\ud800-\udfff]', lambda found: f'%{ord(found[0]) & 0xff:02X}', stem)
    content = name.encode()
    if len(content) + len(suffix.encode()) > MAX_BYTES:
        digest = hashlib.sha256(content).hexdigest()[:8]
        name = content[:MAX_BYTES - len(suffix.encode()) - 9].decode(errors='ignore') + f'~{digest}'
    return name + suffix


def did_you_mean(name: str, known: Iterable[str], limit: int = 3, cutoff: float = 0.6, prefix: str = '') -> str:
    """Suggest names that come close to a wrong one, as the end of an error message.

    Args:
        name (str): The wrong name.
        known (Iterable[str]): The names that exist.
        limit (int): Largest number of suggestions.
        cutoff (float): Smallest similarity, 0 to 1.
        prefix (str): Beginning of each suggestion.

    Returns:
        str: With a space in front; empty if nothing comes close.

    Example:
        >>> did_you_mean('lerning_rate', ['learning_rate', 'momentum'])
        ' Did you mean learning_rate?'
    """
    return suggest([prefix + other for other in difflib.get_close_matches(name, list(known), limit, cutoff)])


def suggest(names: Sequence[str]) -> str:
    """Suggest these names, as the end of an error message; empty if there is none."""
    return f' Did you mean {", ".join(names)}?' if names else ''
