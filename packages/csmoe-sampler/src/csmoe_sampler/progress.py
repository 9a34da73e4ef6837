"""How far a stage is: counts with a rate and a remaining time, on a terminal or as lines of a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

LOG_INTERVAL_S = 10.0


class Progress(Protocol):
    """What the stages tell; stages follow one another or lie within one another."""

    def start(self, name: str, total: int, unit: str) -> None:
        """A stage of `total` units ("tiles"; 0: unknown) begins, inside the one in hand if there is one."""

    def advance(self, count: int) -> None:
        """`count` more units of the innermost stage are done."""

    def finish(self) -> None:
        """The innermost stage has ended."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class NoProgress:
    """Says nothing."""

    def start(self, name: str, total: int, unit: str) -> None:
        """Nothing."""

    def advance(self, count: int) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@dataclass
class _Stage:
    name: str
    total: int
    unit: str
    started_s: float
    said_s: float
    """Clock at the last line of the log."""
    done: int = 0

    @property
    def counted(self) -> str:
        if self.done >= self.total:  # a total of 0: not known beforehand
            return f"{self.done:,} {self.unit}"
        return f"{self.done:,} of {self.total:,} {self.unit}"

    def pace(self, now_s: float) -> str:
        """Rate, elapsed and remaining time; the rate is the mean since the start, for units come in batches."""
        elapsed_s = now_s - self.started_s
        if self.done == 0 or elapsed_s <= 0:
            return _duration(elapsed_s)
        rate = self.done / elapsed_s
        pace = f"{_rounded(rate)}/s, {_duration(elapsed_s)}"
        return pace if self.done >= self.total else f"{pace}, {_duration((self.total - self.done) / rate)} left"


class TerminalProgress:
    """Bars on a terminal; elsewhere a line every ten seconds and one at the end of a stage.

    A context manager: leaving it, by an error too, gives the terminal back.

    Args:
        console: Default: standard error.
        clock: Seconds that never run backwards.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._stages: list[_Stage] = []
        self._live = Live(
            get_renderable=self._bars,
            console=self._console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._on_terminal = self._console.file.isatty() and not self._console.is_dumb_terminal

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        self._stages.clear()

    def start(self, name: str, total: int, unit: str) -> None:
        """A stage begins; its bar is drawn under those in hand."""
        now_s = self._clock()
        one = unit.removesuffix("s") if total == 1 else unit
        self._stages.append(_Stage(name, total, one, now_s, now_s))
        if self._on_terminal:
            self._live.start()

    def advance(self, count: int) -> None:
        """The bar grows, or a line is due."""
        stage, now_s = self._stages[-1], self._clock()
        stage.done += count
        if not self._on_terminal and now_s - stage.said_s >= LOG_INTERVAL_S and stage.done != stage.total:
            stage.said_s = now_s
            share = f" ({stage.done / stage.total:.0%})" if stage.total else ""
            self.note(f"{stage.name}: {stage.counted}{share}, {stage.pace(now_s)}")

    def finish(self) -> None:
        """The outermost bar stays on the terminal as it is; an inner one goes."""
        if len(self._stages) == 1 and self._on_terminal:
            self._live.stop()
        stage = self._stages.pop()
        if not self._on_terminal:
            self.note(f"{stage.name}: {stage.counted}, {stage.pace(self._clock())}")

    def note(self, text: str) -> None:
        """A line; on a terminal above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _bars(self) -> Table:
        """A row a stage: name, bar, count, pace."""
        bars = Table.grid(Column(), Column(ratio=1), Column(justify="right"), Column(), padding=(0, 1), expand=True)
        now_s = self._clock()
        for stage in self._stages:
            bar = ProgressBar(total=max(stage.total, 1), completed=stage.done if stage.total else 1)
            bars.add_row(_cell(stage.name), bar, _cell(stage.counted), _cell(stage.pace(now_s)))
        return bars


def _cell(text: str) -> Text:
    return Text(text, no_wrap=True)


def _rounded(rate: float) -> str:
    """Three figures: 0.25, 31.4, 412, 12.3k, 1.20M."""
    for factor, mark in ((1e6, "M"), (1e3, "k")):
        if rate >= factor * 0.9995:
            return f"{_rounded(rate / factor)}{mark}"
    return f"{rate:.0f}" if rate >= 99.95 else f"{rate:.1f}" if rate >= 9.995 else f"{rate:.2f}"


def _duration(seconds: float) -> str:
    """As 0:05, 12:34 or 1:23:45."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
