"""The part of the page that explains a prediction."""
from typing import TYPE_CHECKING, Any, Optional, Union

import numpy as np
import streamlit as st

from .canvas import draw
from .models import QUEUE
from .own_pictures import ask_box
from .state import gallery, told

if TYPE_CHECKING:
    from mmfss.apis.query_study import Explained, QueryStudy

REGIONS = {
    'prediction': 'Whole prediction', 'ground_truth': 'Truth', 'component': 'One connected part',
    'all': 'Whole picture', 'brush': 'Brush', 'polygon': 'Polygon', 'box': 'Box', 'upload': 'Mask file',
}
FIRST = ('signed_affex', 'unmasked_affex', 'masked_affex', 'saliency', 'grad_cam', 'random')
LEFT_OUT = ('reverse_signed_affex', )


def show_why(study: 'QueryStudy') -> None:
    """Ask for explainers and a region, explain, and show the maps side by side."""
    names = study.support.class_names
    chosen = st.multiselect('Explainers', explainer_names(), ['signed_affex'], key='explainers')
    options = _affex_options()
    region = _ask_region(study)
    if st.button('Explain', type='primary', key='explain', disabled=not chosen or region is None):
        st.session_state.update(explained=None, measured_values={})
        explained = []
        bar = st.progress(0., 'Explaining ...')
        with told(), QUEUE.place():
            for number, name in enumerate(chosen):
                bar.progress(number / len(chosen), f'Explaining by {name} ...')
                config = dict(type=name, **options) if options and name.endswith('affex') else name
                with told():
                    explained.append(study.explain(config, region))
        bar.empty()
        st.session_state['explained'] = explained
    for_display = st.session_state.get('explained')
    if not for_display:
        st.caption('Red support pixels speak for the region, blue ones against it (signed explainers).')
        return
    way = choose_class(names, 'why_class')
    columns = st.columns(2)
    opacity = columns[0].slider('Opacity of the maps', 0., 1., 0.7, 0.05, key='opacity')
    top = columns[1].slider('Show only the strongest per cent of pixels', 1, 100, 100, key='top')
    st.image(region_picture(study, for_display[0], way), width=320, caption=f'Explained region of {names[way]}')
    for explained in for_display:
        if explained.ways[way] is None:
            st.info(f'{explained.name}: {names[way]} has no pixel in the region.')
            continue
        pictures, captions = map_pictures(study, explained, way, opacity, top / 100)
        gallery(pictures, captions, 224)
        _show_shares(explained, way)
    _show_pixel(study, way)


def explainer_names() -> list[str]:
    """List the explainers, the usual ones first."""
    from mmfss.explainers.building import list_explainers

    others = [name for name in list_explainers() if name not in (*FIRST, *LEFT_OUT)]
    return [*FIRST, *others]


def choose_class(names: tuple[str, ...], key: str) -> int:
    """Ask for one of the classes, if there are several."""
    if len(names) == 1:
        return 0
    return st.selectbox('Class', range(len(names)), format_func=lambda way: names[way], key=key)


def _affex_options() -> dict[str, Any]:
    """Ask for options of AffEx; those that differ from its defaults are returned."""
    with st.expander('Options of AffEx'):
        columns = st.columns(3)
        given = dict(
            aggregation=columns[0].selectbox('Weights of layers', ['feature_ablation', 'mean'], key='aggregation'),
            temperature=columns[1].number_input('Temperature', 0.01, 10., 1., 0.05, key='temperature'),
            use_softmax=columns[2].toggle('Softmax of scores', True, key='use_softmax'),
            mask_blur_kernel_size=columns[0].slider('Blur of masks (pixels)', 1, 61, 31, 2, key='blur'),
            mask_blur_sigma=float(columns[1].number_input('Its standard deviation', 1., 200., 50., key='sigma')))
        radius = columns[2].number_input('Dilation of masks (times)', 0, 10, 0, key='dilation')
    if radius:
        given.update(mask_dilation_radius=int(radius), mask_dilation_kernel=3)
    usual = dict(aggregation='feature_ablation', temperature=1., use_softmax=True, mask_blur_kernel_size=31,
                 mask_blur_sigma=50.)
    return {key: value for key, value in given.items() if usual.get(key) != value}


def _ask_region(study: 'QueryStudy') -> Optional[Union[str, np.ndarray]]:
    """Ask which part of the prediction is explained; None until it is given."""
    known = [name for name in REGIONS if name != 'ground_truth' or study.target is not None]
    kind = st.radio('Explained region', known, format_func=REGIONS.get, horizontal=True, key='region')
    if kind in ('prediction', 'ground_truth', 'all'):
        return kind
    if kind == 'component':
        x, y = ask_pixel(study.query, 'component', 'Click into the part, or write a pixel of it.')
        return f'component:{x},{y}'
    if kind == 'box':
        box = ask_box(study.query, 'region')
        return None if box is None else f'box:{",".join(map(str, box))}'
    if kind == 'upload':
        from mmfss.apis.study_files import png_bytes
        from mmfss.apis.uploads import read_mask_of

        file = st.file_uploader('Mask of the region, of the size of the picture', ['png', 'bmp', 'tif'],
                                key='region_file')
        if file is None:
            return None
        with told():
            return read_mask_of(file.getvalue(), file.name, png_bytes(study.query)) == 1
        return None
    return draw(study.query, kind, 'region')


def ask_pixel(picture: np.ndarray, key: str, text: str) -> tuple[int, int]:
    """Ask for a pixel (x, y), by a click (the last counts) or in numbers."""
    from mmfss.apis.drawn_masks import drawn_points

    height, width = picture.shape[:2]
    with st.expander('Click on the picture'):
        pixels = draw(picture, 'points', f'{key}_pixel')
    clicked = [] if pixels is None else drawn_points(pixels)
    st.caption(text)
    columns = st.columns(2)
    fallback = clicked[-1] if clicked else (width // 2, height // 2)
    suffix = f'{width}x{height}-{fallback}'
    return tuple(int(column.number_input(f'{name} of the pixel', 0, most - 1, min(value, most - 1),
                                         key=f'{key}_{name}_{suffix}'))
                 for column, name, most, value in zip(columns, 'xy', (width, height), fallback))


def region_picture(study: 'QueryStudy', explained: 'Explained', way: int) -> np.ndarray:
    """Draw the outline of the explained region on the query with its prediction."""
    from mmfss.visualization import draw_outline, overlay_mask

    region = explained.regions[way].cpu().numpy().astype(np.float32)
    return draw_outline(overlay_mask(study.query, study.mask, contour_width=0), region)


def map_pictures(study: 'QueryStudy', explained: 'Explained', way: int, opacity: float,
                 top: float) -> tuple[list[np.ndarray], list[str]]:
    """Draw the attribution of each support of a class, of which only the strongest pixels may be shown.

    Returns:
        tuple[list, list]: The pictures, RGB, and their captions.
    """
    from mmfss.visualization import draw_outline, overlay_heat, scale_heat

    maps = explained.result['attributions'][way]
    neutral = explained.result['neutral'][way]
    signed = neutral is not None
    flat = np.concatenate([one.ravel() for one in maps])
    strength = np.abs(flat - neutral) if signed else flat
    least = np.quantile(strength, 1 - top) if top < 1 else -np.inf
    # All supports of a class share one scale
    heats = np.split(scale_heat(flat, neutral), np.cumsum([one.size for one in maps])[:-1])
    shares = explained.result['support_shares'][way]
    pictures, captions = [], []
    for number, (one, heat, shot) in enumerate(zip(maps, heats, study.support.shots[way]), start=1):
        kept = (np.abs(one - neutral) if signed else one) >= least
        picture = shot.image[..., ::-1]
        drawn = overlay_heat(picture, heat.reshape(one.shape), signed, opacity)
        if top < 1:
            grey = overlay_heat(picture, heat.reshape(one.shape), signed, 0.)
            drawn = np.where(kept[..., None], drawn, grey // 2)
        pictures.append(draw_outline(drawn, shot.mask == 1))
        share = '' if shares is None else f', {100 * shares[number - 1]:.0f} % of what speaks for the region'
        captions.append(f'{explained.name}: support {number}{share}')
    return pictures, captions


def _show_shares(explained: 'Explained', way: int) -> None:
    contributions = explained.result['contributions'][way]
    if contributions is None:
        return
    with st.expander(f'{explained.name}: shares of layers and supports'):
        st.table([
            {'layer': f'{number} ({height} x {width})', 'weight': f'{100 * weight:.1f} %',
             **{f'support {shot}': f'{100 * share:.1f} %' for shot, share in enumerate(shots, start=1)}}
            for number, (weight, shots, (height, width)) in enumerate(
                zip(contributions['layers'], contributions['layer_shots'], contributions['layer_sizes']), start=1)])


def _show_pixel(study: 'QueryStudy', way: int) -> None:
    """Show which support pixels a pixel of the query attends to, in each layer."""
    from mmfss.visualization import overlay_heat, scale_heat

    st.subheader('What a pixel of the picture attends to')
    x, y = ask_pixel(study.query, 'attended', 'Its strongest support pixels are shown for each compared layer.')
    if not st.toggle('Show the affinities of this pixel', key='show_affinity'):
        return
    with told(), QUEUE.place():
        for number, shares in enumerate(study.read_pixel(way, x, y), start=1):
            heats = scale_heat(shares, clip=0.)
            pictures = [overlay_heat(shot.image[..., ::-1], heat) for shot, heat in
                        zip(study.support.shots[way], heats)]
            best = np.unravel_index(shares.argmax(), shares.shape)
            gallery(pictures, [f'layer {number}, support {shot}: {100 * part.sum():.0f} % of the attention'
                               for shot, part in enumerate(shares, start=1)], 224)
            st.caption(f'Strongest in layer {number}: support {best[0] + 1}, with {100 * shares.max():.2f} %.')
