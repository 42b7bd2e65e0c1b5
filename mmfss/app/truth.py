"""The part of the page that measures how true an explanation is."""
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from .models import QUEUE
from .state import gallery, told
from .why import choose_class

if TYPE_CHECKING:
    from mmfss.apis.query_study import CausalCurve, Explained, QueryStudy

METRICS = {
    'miou_loss@1%': 'mIoULoss@1 %: points of IoU lost with the best 1 % of support pixels (less is better)',
    'miou_loss@5%': 'mIoULoss@5 %', 'infidelity': 'Infidelity (less is better)',
}
CURVES = {'ins': 'Insertion: IAUC (more is better)', 'del': 'Deletion: DAUC (less is better)'}


def show_truth(study: 'QueryStudy') -> None:
    """Measure the shown explanations, and show the states of their curves."""
    explained = st.session_state.get('explained')
    if not explained:
        st.info('Explain the prediction first, in "Why".')
        return
    one = explained[0]
    if len(explained) > 1:
        one = explained[st.selectbox('Explanation', range(len(explained)), key='measured',
                                     format_func=lambda number: explained[number].name)]
    way = choose_class(study.support.class_names, 'truth_class')
    if one.ways[way] is None:
        st.info('This class has no explanation: choose another.')
        return
    curves = st.multiselect('Curves', list(CURVES), list(CURVES), format_func=CURVES.get, key='curve_modes')
    metrics = st.multiselect('Scores', list(METRICS), list(METRICS)[:2], format_func=METRICS.get, key='metrics')
    steps = st.slider('Steps of a curve', 4, 75, 10, key='steps')
    if study.target is None:
        st.caption("The truth of this picture is not known: IoU is with the model's own prediction from all support "
                   'pixels.')
    if st.button('Measure', type='primary', key='measure', disabled=not (curves or metrics)):
        _measure(study, one, way, curves, metrics, steps)
    measured = st.session_state.get('measured_values', {}).get((id(one), way))
    if measured is None:
        return
    st.table([{'score': name, 'value': f'{value:.4f}'} for name, value in measured['values'].items()])
    if measured['curves']:
        st.line_chart({_title(curve): list(curve.scores) for curve in measured['curves']}, x_label='step',
                      y_label='IoU')
        _scrub(study, measured['curves'], way)


def _measure(study: 'QueryStudy', one: 'Explained', way: int, modes: list[str], metrics: list[str],
             steps: int) -> None:
    bar = st.progress(0., 'Measuring ...')
    parts = len(modes) + len(metrics)

    def report(done: int) -> Any:
        return lambda share: bar.progress(min(1., (done + share) / parts), 'Measuring ...')

    values: dict[str, float] = {}
    curves = []
    with told(), QUEUE.place():
        for number, mode in enumerate(modes):
            curves.append(study.curve(one, way, mode, steps, report(number)))
            values['IAUC' if mode == 'ins' else 'DAUC'] = curves[-1].value
        for number, name in enumerate(metrics, start=len(modes)):
            values.update(study.measure(one, way, [name], report(number)))
    bar.empty()
    if values:
        st.session_state.setdefault('measured_values', {})[id(one), way] = dict(values=values, curves=curves)


def _scrub(study: 'QueryStudy', curves: list['CausalCurve'], way: int) -> None:
    """Show the supports of a state and what the model makes of them."""
    curve = curves[0]
    if len(curves) > 1:
        curve = curves[st.radio('States of', range(len(curves)), horizontal=True, key='scrubbed',
                                format_func=lambda number: _title(curves[number]))]
    state = st.slider('State', 0, len(curve.scores) - 1, 0, key='state')
    pictures, captions = state_pictures(study, curve, way, state)
    gallery(pictures, captions, 224)


def state_pictures(study: 'QueryStudy', curve: 'CausalCurve', way: int,
                   state: int) -> tuple[list[np.ndarray], list[str]]:
    """Draw the prediction of a state, and the supports of which removed pixels are black.

    Returns:
        tuple[list, list]: The pictures, RGB, and their captions.
    """
    import cv2

    from mmfss.visualization import overlay_mask

    mask = curve.predictions[state].astype(np.uint8)
    mask = cv2.resize(mask, study.query.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    pictures = [overlay_mask(study.query, mask * (way + 1))]
    captions = [f'prediction: IoU {100 * curve.scores[state]:.1f}']
    for number, (shown, shot) in enumerate(zip(curve.shown(state), study.support.shots[way]), start=1):
        size = shot.image.shape[1::-1]
        visible = cv2.resize(shown.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
        pictures.append(np.where(visible[..., None], shot.image[..., ::-1], 0))
        captions.append(f'support {number}: {100 * shown.mean():.0f} % of its pixels')
    return pictures, captions


def _title(curve: 'CausalCurve') -> str:
    return 'insertion' if curve.mode == 'ins' else 'deletion'


def measured_rows(study: 'QueryStudy') -> list[dict[str, Any]]:
    """List what was measured of the present explanations, for the file of scores."""
    rows = []
    for one in st.session_state.get('explained') or []:
        for way, name in enumerate(study.support.class_names):
            measured = st.session_state.get('measured_values', {}).get((id(one), way))
            for score, value in (measured or dict(values={}))['values'].items():
                rows.append({'class': name, 'explainer': one.name, 'score': score, 'value': value})
    return rows
