"""Pictures of an example or an episode."""
from typing import TYPE_CHECKING

import streamlit as st

from .state import gallery

if TYPE_CHECKING:
    from mmfss.apis.example_pictures import SegmentationTask


def show_task(task: 'SegmentationTask') -> None:
    """Show the pictures of an example or episode, small."""
    import numpy as np

    from mmfss.visualization import overlay_mask

    pictures, captions = [task.query], ['picture to segment']
    for way, (name, pairs) in enumerate(task.support.items(), start=1):
        for number, (picture, mask) in enumerate(pairs, start=1):
            mask = np.asarray(mask)
            pictures.append(overlay_mask(picture, np.where(mask == 1, way, mask)))
            captions.append(f'{name}, example {number}')
    gallery(pictures, captions, 160)
    if task.source:
        st.caption(f'Pictures: {task.source}.')
