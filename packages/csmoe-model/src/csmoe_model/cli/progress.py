"""How far a command is: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG_INTERVAL_S = 10.0


@contextmanager
def counting(name: str, total: int, unit: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Context that shows `total` units of work on standard error; its value is told how many more are done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bars:
            task = bars.add_task(name, total=total)
            yield lambda count: bars.advance(task, count)
    else:
        lines = _Lines(
            name, total, unit, lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)
        )
        yield lines.advance
        lines.say()


class _Lines:
    """Lines of a log."""

    def __init__(self, name: str, total: int, unit: str, say: Callable[[str], None]) -> None:
        self._name, self._total, self._unit, self._say = name, total, unit, say
        self._done = 0
        self._started_s = self._said_s = time.monotonic()

    def advance(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if time.monotonic() - self._said_s >= LOG_INTERVAL_S and self._done < self._total:
            self.say()

    def say(self) -> None:
        """A line now."""
        self._said_s = time.monotonic()
        rate = self._done / max(self._said_s - self._started_s, 1e-9)
        left = f", {(self._total - self._done) / rate:.0f} s left" if 0 < self._done < self._total else ""
        self._say(f"{self._name}: {self._done:,} of {self._total:,} {self._unit}, {rate:.3g}/s{left}")
