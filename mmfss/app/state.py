"""What a session keeps, and how the page tells errors."""
import logging
from collections import OrderedDict
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any, Callable, Hashable, Iterator, Sequence, TypeVar

import streamlit as st

T = TypeVar('T')
_KEPT = 48


def remember(key: Hashable, compute: Callable[[], T]) -> T:
    """Compute something once in a session, as long as it is one of the last results."""
    memo: OrderedDict = st.session_state.setdefault('memo', OrderedDict())
    if key not in memo:
        memo[key] = compute()
    memo.move_to_end(key)
    while len(memo) > _KEPT:
        memo.popitem(last=False)
    return memo[key]


def digest(*parts: Any) -> str:
    """Compute a fingerprint of bytes, arrays and values that can be printed."""
    state = blake2b(digest_size=12)
    for part in parts:
        if isinstance(part, bytes):
            state.update(part)
        elif hasattr(part, 'tobytes'):
            state.update(f'{part.shape}{part.dtype}'.encode() + part.tobytes())
        else:
            state.update(repr(part).encode())
        state.update(b'|')
    return state.hexdigest()


@contextmanager
def told() -> Iterator[None]:
    """Tell an error as a sentence on the page; a defect is written to the server's log."""
    try:
        yield
    except (ValueError, OSError, KeyError, ImportError) as error:
        st.error(_one_paragraph(error))
    except MemoryError:
        st.error('The server has not enough memory for this: use smaller pictures or fewer of them.')
    except Exception as error:  # noqa: BLE001  Whatever it is, the visitor gets a sentence.
        logging.getLogger('mmfss.app').exception('The page failed.')
        st.error(f"This did not work ({type(error).__name__}). The server's log says more.")


def _one_paragraph(error: Exception) -> str:
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) < 600 else f'{text[:600]} ...'


def gallery(pictures: Sequence[Any], captions: Sequence[str], width: int) -> None:
    """Show pictures beside each other, as many as fit.

    Args:
        pictures (Sequence[np.ndarray]): RGB.
        captions (Sequence[str]): Of each, also read aloud by screen readers.
        width (int): Width of each on the page.
    """
    with st.container(horizontal=True, gap='small'):
        for picture, caption in zip(pictures, captions):
            st.image(picture, caption, width=width, alt=caption)
