"""What a person sees while binaries are built."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_PLAIN_INTERVAL_S = 15.0


class Step:
    """Progress of one family; subclasses draw it.

    Parameters
    ----------
    name
        Family name.
    total
        Packages to compile when nothing is cached.
    """

    def __init__(self, name: str, total: int) -> None:
        self.name = name
        self.total = total
        self.done = 0
        self.started = time.monotonic()

    @property
    def elapsed(self) -> str:
        """Elapsed time as ``3 min 07 s``."""
        return duration(time.monotonic() - self.started)

    def advance(self) -> None:
        """One more package was compiled."""
        self.done += 1


class _PlainStep(Step):
    _last = 0.0

    def advance(self) -> None:
        super().advance()
        now = time.monotonic()
        if now - max(self._last, self.started) >= _PLAIN_INTERVAL_S:
            self._last = now
            say(f"  {self.name}: {self.done} of about {self.total} packages, {self.elapsed}")


class _RichStep(Step):
    def __init__(self, name: str, total: int, bar: Progress) -> None:
        super().__init__(name, total)
        self._bar = bar
        self._task = bar.add_task(f"  {name}", total=total)

    def advance(self) -> None:
        super().advance()
        self._bar.advance(self._task)


def duration(seconds: float) -> str:
    """Return a duration for people, for example ``3 min 07 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def say(line: str) -> None:
    """Print one line of progress to standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@contextmanager
def step(name: str, total: int) -> Iterator[Step]:
    """Show the progress of one family until the block ends."""
    console = Console(stderr=True)
    if not console.is_terminal:
        plain = _PlainStep(name, total)
        say(f"  {name}: building, about {total} packages")
        yield plain
        say(f"  {name}: done, {plain.elapsed}")
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        drawn = _RichStep(name, total, bar)
        yield drawn
        bar.update(bar.task_ids[0], completed=total)
