"""Drawing on a picture, at any width of the page."""
import io
from typing import Optional

import numpy as np
import streamlit as st
from PIL import Image

from .state import digest, remember

WIDEST, NARROWEST = 640, 200
MODES = dict(brush='freedraw', polygon='polygon', box='rect', points='point')
# The picture shows through; drawn_pixels takes a quarter of opacity as drawn.
_COLOUR = '#D55E0099'
_TESTED = 'streamlit-drawable-canvas==0.13.0'

# Tells the width of the column; it is measured once, when the page opens.
_MEASURE = """
export default function ({ parentElement, setStateValue }) {
  const root = parentElement.host || parentElement;
  const width = Math.floor(root.getBoundingClientRect().width) || window.innerWidth - 32;
  setStateValue('width', width);
}
"""


def measure_width() -> None:
    """Find out how wide the page is; must be called once in every run of the page, in the main column."""
    measure = st.components.v2.component('mmfss_page_width', html='<div style="height:1px"></div>', js=_MEASURE)
    answer = measure(key='page_width', default=dict(width=0), on_width_change=lambda: None, width='stretch')
    width = (answer or {}).get('width') or 0
    if width:
        st.session_state['measured_width'] = int(width)


def canvas_size(size: tuple[int, int], width: Optional[int] = None) -> tuple[int, int]:
    """Return the size (h, w) at which a picture (H, W) is drawn on, so that it fits the page.

    Args:
        size (tuple[int, int]): Of the picture.
        width (int, optional): Width of the column; by default as it was measured, or that of a phone.
    """
    width = st.session_state.get('measured_width', 340) if width is None else width
    width = max(NARROWEST, min(WIDEST, width - 24))
    return max(1, round(width * size[0] / size[1])), width


def draw(picture: np.ndarray, mode: str, key: str, brush: int = 18) -> Optional[np.ndarray]:
    """Let the visitor draw on a picture.

    Args:
        picture (np.ndarray): (H, W, 3) uint8 RGB.
        mode (str): One of :data:`MODES`.
        key (str): Of the widget.
        brush (int): Width of a stroke in pixels of the page.

    Returns:
        np.ndarray, optional: Boolean, (H, W): the drawn pixels; None if nothing is drawn.
    """
    try:
        from streamlit_drawable_canvas import st_canvas
    except ImportError:
        st.info(f'Drawing needs the package {_TESTED}, which is not installed: upload a mask instead.')
        return None
    from mmfss.apis.drawn_masks import drawn_pixels

    height, width = canvas_size(picture.shape[:2])
    background = remember(('jpeg', digest(picture), height, width), lambda: _jpeg(picture, (height, width)))
    result = st_canvas(
        fill_color=_COLOUR, stroke_color=_COLOUR, stroke_width=brush if mode == 'brush' else 2,
        background_image=background, height=height, width=width, drawing_mode=MODES[mode], point_display_radius=5,
        return_image_data=True, key=f'{key}-{mode}-{width}')
    if not (result.json_data or {}).get('objects') or result.image_data is None:
        return None
    pixels = drawn_pixels(result.image_data, picture.shape[:2])
    return pixels if pixels.any() else None


def _jpeg(picture: np.ndarray, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).resize(size[::-1], Image.Resampling.LANCZOS).save(buffer, format='JPEG', quality=88)
    return buffer.getvalue()
