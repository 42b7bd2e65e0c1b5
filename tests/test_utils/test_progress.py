import io
import re

import pytest

from mmfss.utils.progress import Progress


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):

    def isatty(self) -> bool:
        return True


def work(progress: Progress, clock: Clock, seconds: float, count: int) -> None:
    for _ in range(count):
        clock.now += seconds
        progress.update()


def test_lines_with_the_time_left() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress(60, 'training', 'iterations', stream=stream, clock=clock)
    work(progress, clock, 1, 60)
    assert stream.getvalue().splitlines() == [
        *[f'training: {done} of 60 iterations, about 0:00:{60 - done:02d} left' for done in (2, 12, 22, 32, 42, 52)],
        'training: 60 of 60 iterations in 0:01:00']


@pytest.mark.parametrize('seconds', [0.01, 0.5, 2.7, 8.3])
def test_first_line_within_ten_seconds(seconds: float) -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress(400, 'training', stream=stream, clock=clock)
    while not stream.getvalue():
        work(progress, clock, seconds, 1)
        assert clock.now - progress.start <= 10
    left = seconds * (400 - progress.done)
    assert f'about 0:{int(round(left)) // 60:02d}:{int(round(left)) % 60:02d} left' in stream.getvalue()


def test_what_a_former_run_did_does_not_count_as_speed() -> None:
    clock, stream = Clock(), io.StringIO()
    work(Progress(100, 'explaining', 'episodes', done=90, stream=stream, clock=clock), clock, 3, 1)
    assert stream.getvalue() == 'explaining: 91 of 100 episodes, about 0:00:27 left\n'


def test_a_long_run_writes_few_lines() -> None:
    clock, stream = Clock(), io.StringIO()
    work(Progress(86400, 'training', stream=stream, clock=clock), clock, 1, 86400)
    assert 40 < len(stream.getvalue().splitlines()) < 100


def test_one_line_on_a_terminal() -> None:
    clock, stream = Clock(), Terminal()
    work(Progress(120, 'testing', 'batches', stream=stream, clock=clock), clock, 1, 120)
    text = stream.getvalue()
    assert text.count('\n') == 1 and text.endswith('\n')
    reports = text.strip('\r\n').split('\r')
    assert len(reports) == 119  # every second from the second one on
    # Each covers what is left of the one before.
    assert all(len(later) >= len(earlier.rstrip()) for earlier, later in zip(reports, reports[1:]))


def test_lines_between_those_of_a_log() -> None:
    clock, stream = Clock(), Terminal()
    work(Progress(30, 'training', stream=stream, in_place=False, clock=clock), clock, 1, 30)
    assert '\r' not in stream.getvalue() and len(stream.getvalue().splitlines()) == 4


@pytest.mark.parametrize('steps', [[7], [3, 3, 3], [1, 99]])
def test_more_items_than_there_are(steps: list[int]) -> None:
    """Processes that are taken to be equally fast may pass the end together."""
    stream = io.StringIO()
    progress = Progress(7, 'explaining', stream=stream, clock=Clock())
    for step in steps:
        progress.update(step)
    assert re.fullmatch(r'explaining: 7 of 7 items in 0:00:00\n', stream.getvalue())
