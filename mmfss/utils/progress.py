"""Progress of long work, with the time left."""
import sys
import time
from datetime import timedelta
from typing import Callable, Optional, TextIO

FIRST_REPORT = 2.  # seconds; what a single item took says little
INTERVAL = 10.  # seconds
SHARE_OF_ELAPSED = 0.1


class Progress:
    """Report the progress of work and the time left, from two seconds on.

    On a terminal one line is rewritten in place, twice a second at most. Elsewhere (files, pipes) every report is a
    line of its own: every ten seconds, and more rarely the longer the work has lasted, so that a day's log holds some
    eighty lines. The end is always reported.

    Args:
        total (int): Number of items.
        what (str): What is done, e.g. ``'drawing'``.
        items (str): What is counted, e.g. ``'images'``.
        done (int): Items that an earlier run has done; they do not count for the speed.
        stream (TextIO, optional): Where to write; standard error by default.
        in_place (bool, optional): Rewrite one line; by default where the stream is a terminal. False where others write
            to the terminal as well.
        clock (Callable): Seconds that only go up.

    Example:
        >>> progress = Progress(2, 'drawing', 'images', stream=sys.stdout)
        >>> progress.update(2)
        drawing: 2 of 2 images in 0:00:00
    """

    def __init__(self,
                 total: int,
                 what: str,
                 items: str = 'items',
                 done: int = 0,
                 stream: Optional[TextIO] = None,
                 in_place: Optional[bool] = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.what, self.items = total, what, items
        self.done = self.before = done
        # Looked up now: a test or a caller may have redirected it.
        self.stream = sys.stderr if stream is None else stream
        self.in_place = self.stream.isatty() if in_place is None else in_place
        self.clock = clock
        self.start = clock()
        self.next_report = FIRST_REPORT
        self.width = 0

    def update(self, count: int = 1) -> None:
        """Count finished items, and report if it is time to.

        Args:
            count (int): How many.
        """
        self.done = min(self.done + count, self.total)
        elapsed = self.clock() - self.start
        if self.done == self.total:
            self._write(f'{self.what}: {self.done} of {self.total} {self.items} in {_time(elapsed)}', last=True)
        elif elapsed >= self.next_report:
            left = elapsed / max(self.done - self.before, 1) * (self.total - self.done)
            self._write(f'{self.what}: {self.done} of {self.total} {self.items}, about {_time(left)} left')
            wait = 0.5 if self.in_place else max(INTERVAL, SHARE_OF_ELAPSED * elapsed)
            self.next_report = elapsed + wait

    def _write(self, line: str, last: bool = False) -> None:
        if not self.in_place:
            print(line, file=self.stream, flush=True)
            return
        # Spaces remove what is left of a longer line.
        print(f'\r{line:{self.width}}', end='\n' if last else '', file=self.stream, flush=True)
        self.width = len(line)


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
