"""How far a run is and how fast: a bar on a terminal, lines of a log elsewhere."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

LOG_INTERVAL_S = 10.0
RECENT_STEPS = 50
"""Steps that the shown pace is taken over."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of a run."""

    step: int
    clock_s: float
    """Without what was spent aside."""
    waited_s: float
    """Of that, spent waiting for data."""

    def steps_s(self, since: Mark) -> float:
        """Steps a second between two moments; 0 between the same."""
        spent_s = self.clock_s - since.clock_s
        return (self.step - since.step) / spent_s if spent_s > 0 else 0.0

    def wait_share(self, since: Mark) -> float:
        """Share of the time between two moments that went into waiting for data; 0 between the same."""
        spent_s = self.clock_s - since.clock_s
        return (self.waited_s - since.waited_s) / spent_s if spent_s > 0 else 0.0


class Pace:
    """How fast a run is, and how much of it is waiting.

    Args:
        clock: Seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._aside_s = self._waited_s = 0.0
        self.start(0)

    def start(self, step: int) -> None:
        """Steps begin after `step`."""
        self.began_s = self._clock()
        self.first = Mark(step, self.began_s - self._aside_s, self._waited_s)
        self.recent = deque([self.first], maxlen=RECENT_STEPS + 1)

    def mark(self, step: int) -> Mark:
        """A step is done, now."""
        self.recent.append(Mark(step, self._clock() - self._aside_s, self._waited_s))
        return self.recent[-1]

    @property
    def last(self) -> Mark:
        """When the last step was done."""
        return self.recent[-1]

    @property
    def elapsed_s(self) -> float:
        """Since the start, all included."""
        return self._clock() - self.began_s

    @property
    def steps_s(self) -> float:
        """Steps a second, over the recent ones."""
        return self.last.steps_s(self.recent[0])

    @property
    def wait_share(self) -> float:
        """Share of the time that went into waiting for data, over the recent steps."""
        return self.last.wait_share(self.recent[0])

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent here is waiting for data."""
        began_s = self._clock()
        try:
            yield
        finally:
            self._waited_s += self._clock() - began_s

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Time spent here is none of the steps': probes, checkpoints."""
        began_s = self._clock()
        try:
            yield
        finally:
            self._aside_s += self._clock() - began_s


class Display:
    """A bar on a terminal; elsewhere a line every ten seconds.

    Args:
        console: Default: standard error.
        clock: Seconds that never run backwards.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(stderr=True)
        self.pace = Pace(clock)
        self._clock = clock
        self._steps, self._places = 0, 1
        self._epoch_steps: float | None = None
        self._running = False
        self._loss = ""
        self._on_terminal = self.console.file.isatty() and not self.console.is_dumb_terminal and not self.console.quiet
        self._live = Live(
            get_renderable=self._bar,
            console=self.console,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self, steps: int, step: int, places: int, epoch_steps: float | None) -> None:
        """Steps begin after `step`, of `steps`, of `places` each."""
        self._steps, self._places, self._epoch_steps = steps, places, epoch_steps
        self.pace.start(step)
        self._said_s = self._clock()
        self._running = True
        if self._on_terminal:
            self._live.start()

    def step(self, loss: float) -> None:
        """A step has been marked: the bar grows, or a line is due."""
        self._loss = f"loss {loss:.4g}"
        if not self._on_terminal and self._clock() - self._said_s >= LOG_INTERVAL_S:
            self._said_s = self._clock()
            counted = f"step {self.pace.last.step:,} of {self._steps:,}"
            self.note(f"pretrain: {counted}, {self._figures()}, {self._left()} left")

    def finish(self) -> None:
        """The bar stays as it is; a last line tells the means."""
        if not self._running:
            return
        self._running = False
        self._live.stop()
        first, last = self.pace.first, self.pace.last
        done = f"{last.step - first.step:,} steps in {_duration(self.pace.elapsed_s)}"
        told = [done, self._loss, self._speed(last.steps_s(first)), _wait(last.wait_share(first))]
        self.note(f"pretrain: {', '.join(part for part in told if part)}")

    def note(self, text: str) -> None:
        """A line; on a terminal above the bar."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _bar(self) -> Table:
        """Two rows: the bar with count and remaining time; under it epoch, loss, speed and waiting."""
        pace = self.pace
        top = Table.grid(Column(), Column(ratio=1), Column(justify="right"), Column(), padding=(0, 1), expand=True)
        bar = ProgressBar(total=max(self._steps, 1), completed=pace.last.step)
        count = f"{pace.last.step:,} of {self._steps:,} steps"
        times = f"{_duration(pace.elapsed_s)}, {self._left()} left" if self._running else _duration(pace.elapsed_s)
        top.add_row(_cell("pretrain"), bar, _cell(count), _cell(times))
        whole = Table.grid(expand=True)
        whole.add_row(top)
        whole.add_row(_cell(f"         {self._figures()}"))
        return whole

    def _figures(self) -> str:
        """Epoch, loss, speed and waiting."""
        told = [self._epoch(), self._loss, self._speed(self.pace.steps_s), _wait(self.pace.wait_share)]
        return ", ".join(part for part in told if part)

    def _epoch(self) -> str:
        """Epoch in hand, counted from 1."""
        if not self._epoch_steps:
            return ""
        epochs = max(1, math.ceil(self._steps / self._epoch_steps - 1e-9))
        return f"epoch {min(epochs, int(self.pace.last.step / self._epoch_steps + 1e-9) + 1):,} of {epochs:,}"

    def _speed(self, steps_s: float) -> str:
        return f"{_rounded(steps_s * self._places)} samples/s" if steps_s else ""

    def _left(self) -> str:
        """At the recent pace, probes and checkpoints not counted."""
        steps_s = self.pace.steps_s
        return _duration((self._steps - self.pace.last.step) / steps_s) if steps_s else "?"


def _cell(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _wait(share: float) -> str:
    return f"data wait {share:.1%}"


def _rounded(rate: float) -> str:
    """Three figures: 0.25, 31.4, 412, 12.3k."""
    if rate >= 9_995:
        return f"{rate / 1000:.1f}k"
    return f"{rate:,.0f}" if rate >= 99.95 else f"{rate:.1f}" if rate >= 9.995 else f"{rate:.2f}"


def _duration(seconds: float) -> str:
    """As 0:05, 12:34 or 1:23:45."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
