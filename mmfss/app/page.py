"""The page: runs at every change of a widget; heavy packages are imported after the page is there."""
import time
from typing import TYPE_CHECKING, Any, Optional

import streamlit as st

from mmfss.app.canvas import measure_width
from mmfss.app.models import QUEUE, is_loaded, load
from mmfss.app.settings import SETTINGS, ModelChoice
from mmfss.app.state import digest, remember, told
from mmfss.app.task_pictures import show_task

if TYPE_CHECKING:
    from mmfss.apis import FewShotInferencer
    from mmfss.apis.example_pictures import SegmentationTask

SOURCES = {'shapes': 'Example: shapes', 'coins': 'Example: coins', 'own': 'Own pictures', 'episodes': 'Episodes'}


def main() -> None:
    """Show the page."""
    st.set_page_config(page_title='mmfss', layout='centered', menu_items={'About': 'mmfss'})
    st.title('Segment by example')
    st.markdown('Give a picture and a few examples with masks. The model segments the picture, and the page shows '
                'which pixels of the examples decided, and how true that is.')
    measure_width()
    choice = _choose_model()
    inferencer = _load(choice)
    if inferencer is None:
        return
    _apply_threshold_of(inferencer, choice)
    task = None
    with told():
        task = _ask_task(inferencer)
    if task is not None:
        with told():
            _segment(inferencer, choice, task)


def _choose_model() -> ModelChoice:
    models = SETTINGS.models
    return st.sidebar.selectbox('Model', models, format_func=lambda choice: choice.title, key='model')


def _load(choice: ModelChoice) -> 'Optional[FewShotInferencer]':
    """Return the model; while it is loaded, the page says so."""
    if is_loaded(choice):
        return load(choice)
    with st.status(f'Loading the model "{choice.title}" ...') as status, told():
        inferencer = load(choice)
        status.update(label='The model is ready.', state='complete')
        return inferencer
    return None


def _apply_threshold_of(inferencer: 'FewShotInferencer', choice: ModelChoice) -> None:
    """Show the threshold, which starts at that of the model."""
    st.sidebar.slider('Threshold of the foreground', 0.05, 0.95, round(inferencer.model.threshold, 2), 0.01,
                      key=f'threshold_{choice.title}', help='A pixel is foreground if its probability is higher.')
    st.sidebar.caption('Pictures stay on this machine. Larger ones are reduced to 1280 pixels.')


def _ask_task(inferencer: 'FewShotInferencer') -> 'Optional[SegmentationTask]':
    known = [name for name in SOURCES if name != 'episodes' or SETTINGS.data is not None]
    source = st.radio('Pictures', known, format_func=SOURCES.get, horizontal=True, key='source')
    if source == 'own':
        from mmfss.app.own_pictures import own_task

        # A model that refines its masks by SAM also makes masks of boxes and points by it.
        return own_task(getattr(getattr(inferencer.model, 'refine', None), 'sam', None))
    if source == 'episodes':
        from mmfss.app.episodes import episode_task

        return episode_task()
    from mmfss.apis.example_pictures import coins_task, shapes_task

    task = remember(source, shapes_task if source == 'shapes' else coins_task)
    show_task(task)
    return task


def _segment(inferencer: 'FewShotInferencer', choice: ModelChoice, task: 'SegmentationTask') -> None:
    """Segment at the push of the button, and show the result as long as pictures and model stay the same."""
    threshold = st.session_state[f'threshold_{choice.title}']
    arrays = [part for pairs in task.support.values() for pair in pairs for part in pair]
    inputs = digest(choice, task.query, list(task.support), *arrays,
                    *([] if task.target is None else [task.target]))
    asked = st.button('Segment', type='primary', key='segment')
    done: dict[str, Any] = st.session_state.get('done') or {}
    current = done.get('inputs') == inputs
    if asked or (current and done['threshold'] != threshold):
        st.session_state.update(done=None, explained=None, effects=None, measured_values={}, candidates=[])
        done = _run(inferencer, task, threshold, done if current else {})
        done.update(inputs=inputs)
        st.session_state.update(done=done, candidates=[pair for pairs in task.candidates.values() for pair in pairs])
    elif done and not current:
        st.info('Pictures or model have changed: segment again.')
        return
    if done:
        _show_result(done, choice)


def _run(inferencer: 'FewShotInferencer', task: 'SegmentationTask', threshold: float,
         before: dict[str, Any]) -> dict[str, Any]:
    from mmfss.apis.query_study import QueryStudy
    from mmfss.apis.support_checks import support_warnings

    with st.spinner('Segmenting ...'), QUEUE.place():
        start = time.perf_counter()
        support = before['study'].support if before else inferencer.encode_support(task.support)
        study = QueryStudy(inferencer, task.query, support, task.target, threshold)
        seconds = time.perf_counter() - start
    hints = support_warnings(dict(zip(support.class_names, support.shots)))
    return dict(study=study, seconds=seconds, threshold=threshold, warnings=hints)


def _show_result(done: dict[str, Any], choice: ModelChoice) -> None:
    from mmfss.apis.study_files import prediction_rows
    from mmfss.app.supports import show_downloads, show_supports
    from mmfss.app.truth import show_truth
    from mmfss.app.why import show_why
    from mmfss.visualization import overlay_mask

    study = done['study']
    st.subheader('Segmentation')
    for sentence in done['warnings']:
        st.warning(sentence)
    st.image(overlay_mask(study.query, study.mask), width='stretch', caption=f'{done["seconds"]:.1f} s')
    st.table(_class_table(prediction_rows(study)))
    _tell_absence(study)
    why, truth, supports, files = st.tabs(['Why', 'How true', 'Examples', 'Files'])
    for tab, show, arguments in ((why, show_why, ()), (truth, show_truth, ()), (supports, show_supports, ()),
                                 (files, show_downloads, (choice, ))):
        with tab, told():
            show(study, *arguments)


def _class_table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Arrange the scores of the prediction by class, in words."""
    table: dict[str, dict[str, str]] = {}
    for row in rows:
        line = table.setdefault(row['class'], {'class': row['class']})
        share = row['score'] in ('area', 'IoU')
        line[row['score']] = f'{100 * row["value"]:.1f} %' if share else f'{row["value"]:.2f}'
    return list(table.values())


def _tell_absence(study: Any) -> None:
    """Say of each class that is probably not in the picture that it is not."""
    presence = study.result.get('presence')
    calibrated = study.inferencer.judge.calibration is not None
    if presence is not None and not calibrated:
        st.caption('Presence: the larger, the more likely the class is in the picture; -2 to 2, no probability.')
    for way, name in enumerate(study.support.class_names):
        if not (study.mask == way + 1).any():
            st.warning(f'{name}: nothing was found. The class is probably not in this picture.')
        elif presence is not None and calibrated and presence[way] < 0.5:
            st.warning(f'{name}: the class is probably not in this picture ({100 * presence[way]:.0f} % presence).')
