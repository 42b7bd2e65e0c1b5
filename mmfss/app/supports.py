"""The part of the page that shows what each support does, and the files to download."""
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from .models import QUEUE
from .own_pictures import MASKS, PICTURES
from .settings import ModelChoice
from .state import gallery, told
from .truth import measured_rows
from .why import choose_class

if TYPE_CHECKING:
    from mmfss.apis.query_study import QueryStudy
    from mmfss.apis.support_effects import SupportEffects
    from mmfss.apis.support_set import SupportShot


def show_supports(study: 'QueryStudy') -> None:
    """Compare the prediction with and without each support, and with further candidates."""
    way = choose_class(study.support.class_names, 'supports_class')
    candidates = _ask_candidates(study)
    if st.button('Compare', type='primary', key='compare'):
        from mmfss.apis.support_effects import support_effects

        with told(), QUEUE.place(), st.spinner('Leaving each support out ...'):
            st.session_state['effects'] = way, support_effects(study, way, candidates)
    found = st.session_state.get('effects')
    if found is None or found[0] != way:
        return
    effects: SupportEffects = found[1]
    truth = effects.compared_with == 'truth'
    st.table([{
        'example': row.name, 'IoU with it': f'{100 * row.with_it:.1f}', 'IoU without it': f'{100 * row.without_it:.1f}',
        'it adds': f'{100 * row.gain:+.1f}', 'share / average': '-' if row.credit is None else f'{row.credit:.2f}',
    } for row in effects.rows])
    st.caption('IoU with the truth.' if truth else 'IoU with the prediction from all supports: the truth is not known.')
    for sentence in effects.advice():
        st.markdown(f'**{sentence}**')
    _show_without(study, way)


def _ask_candidates(study: 'QueryStudy') -> 'list[SupportShot]':
    """Ask for one further annotated picture; the candidates of the task come first."""
    with st.expander('Try a candidate'):
        picture = st.file_uploader('Further example', PICTURES, key='candidate_file')
        mask = st.file_uploader('Its mask', MASKS, key='candidate_mask')
    pairs = list(st.session_state.get('candidates', []))
    if picture is not None and mask is not None:
        from mmfss.apis.uploads import read_mask_of, read_picture

        with told():
            content = picture.getvalue()
            pairs.append((read_picture(content, picture.name), read_mask_of(mask.getvalue(), mask.name, content)))
    if not pairs:
        return []
    from mmfss.apis.support_set import load_support

    with told():
        return list(load_support(pairs, study.inferencer.transform, bgr=False, ignore_value=255)['object'])
    return []


def _show_without(study: 'QueryStudy', way: int) -> None:
    from mmfss.apis.support_effects import predict_without
    from mmfss.visualization import overlay_mask

    count = len(study.support.shots[way])
    if count < 2:
        return
    left_out = st.selectbox('Show the prediction without', range(count), key='left_out',
                            format_func=lambda number: f'support {number + 1}')
    with told(), QUEUE.place():
        without = predict_without(study, way, left_out)
        mask = np.where(study.mask == way + 1, way + 1, 0)
        gallery([overlay_mask(study.query, mask), overlay_mask(study.query, without * (way + 1))],
                ['with all supports', f'without support {left_out + 1}'], 300)


def show_downloads(study: 'QueryStudy', choice: ModelChoice) -> None:
    """Offer the files of the prediction, and the lines that reproduce it."""
    from mmfss.apis.study_files import ModelSource, prediction_rows, scores_csv, script, study_zip

    explained = st.session_state.get('explained') or []
    source = ModelSource(choice.config, choice.checkpoint)
    rows = measured_rows(study)
    st.download_button('All files (ZIP)', lambda: study_zip(study, source, explained, rows), 'mmfss.zip',
                       'application/zip', key='zip', on_click='ignore', type='primary')
    columns = st.columns(4)
    for column, (label, data, name, kind) in zip(columns, _single_files(study, explained)):
        column.download_button(label, data, name, kind, key=f'file_{name}', on_click='ignore')
    columns[3].download_button('Scores (CSV)', lambda: scores_csv([*prediction_rows(study), *rows]), 'scores.csv',
                               'text/csv', key='file_scores.csv', on_click='ignore')
    st.markdown('These lines, run in the folder of the ZIP, give the same mask:')
    st.code(script(study, source, explained), language='python')


def _single_files(study: 'QueryStudy', explained: list) -> list[tuple]:
    import json

    from mmfss.apis.study_files import attributions_npz, coco_json, mask_png

    files = [
        ('Mask (PNG)', lambda: mask_png(study.mask, len(study.support.class_names)), 'mask.png', 'image/png'),
        ('Mask (COCO)', lambda: json.dumps(coco_json(study)), 'coco.json', 'application/json')]
    if explained:
        files.append(('Attributions (npz)', lambda: attributions_npz(study, explained), 'attributions.npz',
                      'application/octet-stream'))
    return files
