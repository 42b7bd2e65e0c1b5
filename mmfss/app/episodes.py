"""The part of the page where episodes of a dataset are chosen."""
from typing import TYPE_CHECKING, Any, Optional

import streamlit as st

from .settings import SETTINGS
from .state import remember
from .task_pictures import show_task

if TYPE_CHECKING:
    from mmfss.apis.example_pictures import SegmentationTask


def episode_task() -> 'Optional[SegmentationTask]':
    """Ask for an episode, and load its pictures."""
    from mmfss.apis.episode_tasks import EpisodeSource
    columns = st.columns(3)
    ways = int(columns[0].number_input('Classes', 1, 5, 1, key='ways'))
    shots = int(columns[1].number_input('Examples of each', 1, 10, 1, key='shots'))
    seed = int(columns[2].number_input('Seed', 0, 2**31 - 1, 0, key='seed'))
    config = SETTINGS.data
    everything = remember(('episodes', ways, shots, seed), lambda: EpisodeSource(config, ways, shots, seed))
    source = everything
    if ways == 1:
        name = st.selectbox('Class', ['any', *everything.class_names], key='episode_class')
        if name != 'any':
            source = remember(('episodes', ways, shots, seed, name),
                              lambda: EpisodeSource(config, ways, shots, seed, name))
    _choose_worst(len(source))
    before, number, after = st.columns([1, 2, 1], vertical_alignment='bottom')
    number.number_input('Episode', 0, len(source) - 1, key='episode')
    before.button('Previous', on_click=_move, args=(-1, len(source)), key='previous')
    after.button('Next', on_click=_move, args=(1, len(source)), key='next')
    index = min(int(st.session_state['episode']), len(source) - 1)
    task = remember(('episode', ways, shots, seed, source.class_name, index), lambda: source.task(index))
    show_task(task)
    return task


def _move(step: int, count: int) -> None:
    st.session_state['episode'] = (st.session_state['episode'] + step) % count


def _choose_worst(count: int) -> None:
    """Offer the worst episodes of a finished test."""
    if SETTINGS.run is None:
        return
    from mmfss.evaluation.episode_table import read_episodes, worst_episodes

    rows = remember(('run', SETTINGS.run), lambda: worst_episodes(read_episodes(SETTINGS.run), 20))

    def jump() -> None:
        row: Any = st.session_state['worst']
        if row is not None:
            st.session_state.update(ways=row.ways, shots=row.shots, seed=row.seed, episode=row.index,
                                    episode_class='any')

    st.selectbox('Worst episodes of the test', rows, None, key='worst', on_change=jump, format_func=lambda row: (
        f'episode {row.index}, {row.class_name}: IoU {100 * row.iou:.1f}'))
