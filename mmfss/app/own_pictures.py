"""The part of the page where visitors give their own pictures and masks."""
from typing import TYPE_CHECKING, Optional

import numpy as np
import streamlit as st

from .canvas import draw
from .state import digest, remember, told

if TYPE_CHECKING:
    from mmfss.apis.example_pictures import SegmentationTask
    from mmfss.models.backbones import SegmentAnything

PICTURES = ['jpg', 'jpeg', 'png', 'webp', 'bmp', 'tif', 'tiff']
MASKS = ['png', 'bmp', 'tif', 'tiff', 'gif', 'jpg', 'jpeg', 'webp', 'json', 'txt']
MOST_SUPPORTS, MOST_CLASSES = 10, 5
WAYS = dict(upload='Upload', brush='Brush', polygon='Polygon', box='Box', points='Points')
_MEGABYTES = 20


def own_task(sam: 'Optional[SegmentAnything]' = None) -> Optional['SegmentationTask']:
    """Ask for pictures and masks; None until there is a picture and a support of every class.

    Args:
        sam (SegmentAnything, optional): Makes masks of boxes and points. By default their colours do.
    """
    from mmfss.apis.example_pictures import SegmentationTask

    file = st.file_uploader('Picture to segment', PICTURES, key='query_file', max_upload_size=_MEGABYTES)
    query = None if file is None else _picture(file)
    count = st.number_input('Number of classes', 1, MOST_CLASSES, 1, key='num_classes')
    support: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for way in range(1, int(count) + 1):
        name = st.text_input(f'Name of class {way}', f'class {way}' if count > 1 else 'object', key=f'class_{way}',
                             max_chars=40).strip()
        pairs = _supports(way, name, sam)
        if name in support:
            st.error(f'Two classes are called "{name}": give each a name of its own.')
            return None
        support[name or f'class {way}'] = pairs
    total = sum(len(pairs) for pairs in support.values())
    if total > MOST_SUPPORTS:
        st.error(f'There are {total} examples, more than {MOST_SUPPORTS}: take some away.')
        return None
    if query is None or not all(support.values()):
        st.info('Give a picture to segment, and for every class one to ten examples with a mask.')
        return None
    return SegmentationTask(query, support, source='uploaded')


def _supports(way: int, name: str, sam: 'Optional[SegmentAnything]') -> list[tuple[np.ndarray, np.ndarray]]:
    """Ask for the examples of a class; those with a mask are returned."""
    files = st.file_uploader(f'Examples of {name or way}', PICTURES, accept_multiple_files=True,
                             key=f'support_files_{way}', max_upload_size=_MEGABYTES)
    pairs = []
    for number, file in enumerate(files[:MOST_SUPPORTS], start=1):
        with st.expander(f'Mask of {file.name}', expanded=True):
            picture = _picture(file)
            if picture is None:
                continue
            with told():
                mask = ask_mask(picture, file.getvalue(), f'mask_{way}_{number}', sam)
                if mask is not None:
                    show_mask(picture, mask)
                    pairs.append((picture, mask))
    return pairs


def _picture(file: object) -> Optional[np.ndarray]:
    from mmfss.apis.uploads import read_picture

    content, name = file.getvalue(), file.name
    with told():
        picture = remember(('picture', digest(content), name), lambda: read_picture(content, name))
        return picture
    return None


def show_mask(picture: np.ndarray, mask: np.ndarray) -> None:
    """Show a picture with its mask, small."""
    from mmfss.visualization import overlay_mask

    st.image(overlay_mask(picture, np.asarray(mask, dtype=np.uint8)), width=260, output_format='JPEG',
             caption=f'{100 * (np.asarray(mask) == 1).mean():.1f} % of the picture')


def ask_mask(picture: np.ndarray, content: bytes, key: str,
             sam: 'Optional[SegmentAnything]' = None) -> Optional[np.ndarray]:
    """Ask for the mask of a picture, by upload or by drawing.

    Args:
        picture (np.ndarray): (H, W, 3) uint8 RGB.
        content (bytes): Its file.
        key (str): Of the widgets.
        sam (SegmentAnything, optional): As in :func:`own_task`.

    Returns:
        np.ndarray, optional: (H, W) uint8; 1 object, 0 background, 255 ignored; None until there is one.
    """
    way = st.radio('How to give the mask', list(WAYS), format_func=WAYS.get, horizontal=True, key=f'{key}_way')
    if way == 'upload':
        from mmfss.apis.uploads import read_mask_of

        file = st.file_uploader('Mask: black is background; or a LabelMe or YOLO file', MASKS, key=f'{key}_file',
                                max_upload_size=_MEGABYTES)
        if file is None:
            return None
        mask_content = file.getvalue()
        return remember(('mask', digest(mask_content, content), file.name),
                        lambda: read_mask_of(mask_content, file.name, content))
    if way in ('brush', 'polygon'):
        st.caption('Paint the object.' if way == 'brush' else 'Click the corners; click the first again to close.')
        pixels = draw(picture, way, key)
        return None if pixels is None else pixels.astype(np.uint8)
    if way == 'box':
        return _mask_in_box(picture, key, sam)
    return _mask_at_points(picture, key, sam)


def ask_box(picture: np.ndarray, key: str) -> Optional[tuple[int, int, int, int]]:
    """Ask for a box, drawn or in numbers: left, top, right, bottom; None if there is none."""
    from mmfss.apis.drawn_masks import drawn_box

    height, width = picture.shape[:2]
    pixels = draw(picture, 'box', key)
    drawn = None if pixels is None else drawn_box(pixels)
    st.caption('Draw a box, or write its sides in pixels.')
    columns = st.columns(4)
    sides = [
        int(column.number_input(name, 0, most, 0, key=f'{key}_{name}'))
        for column, name, most in zip(columns, ('left', 'top', 'right', 'bottom'), (width, height, width, height))
    ]
    return tuple(sides) if any(sides) else drawn


def _mask_in_box(picture: np.ndarray, key: str, sam: 'Optional[SegmentAnything]') -> Optional[np.ndarray]:
    from mmfss.apis.drawn_masks import mask_in_box

    box = ask_box(picture, key)
    if box is None:
        return None
    st.caption(f'Approximate: the object in the box is guessed {_guess(sam)}.')
    return remember(('box', digest(picture), box, _guess(sam)),
                    lambda: mask_in_box(picture, box, sam)).astype(np.uint8)


def _mask_at_points(picture: np.ndarray, key: str, sam: 'Optional[SegmentAnything]') -> Optional[np.ndarray]:
    from mmfss.apis.drawn_masks import drawn_points, mask_at_points

    pixels = draw(picture, 'points', key)
    text = st.text_input('Points on the object as x,y; x,y', key=f'{key}_points')
    points = parse_points(text) if text.strip() else [] if pixels is None else drawn_points(pixels)
    if not points:
        return None
    st.caption(f'Approximate: the object at the points is guessed {_guess(sam)}.')
    return remember(('points', digest(picture), tuple(points), _guess(sam)),
                    lambda: mask_at_points(picture, points, sam=sam)).astype(np.uint8)


def _guess(sam: 'Optional[SegmentAnything]') -> str:
    return 'by its colours' if sam is None else 'by SAM'


def parse_points(text: str) -> list[tuple[int, int]]:
    """Read points from a text such as ``10,20; 30,40``.

    Raises:
        ValueError: If it is no such text.
    """
    try:
        pairs = [part.split(',') for part in text.split(';') if part.strip()]
        return [(int(x), int(y)) for x, y in pairs]
    except ValueError:
        raise ValueError(f'"{text}" is no list of points: write x,y; x,y with whole numbers.') from None
