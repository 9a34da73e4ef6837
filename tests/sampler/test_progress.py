import io
import os
import pty
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from rich.console import Console

from csmoe_sampler.progress import NoProgress, Progress, TerminalProgress


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _run(progress: Progress, clock: Clock, steps: int, step_s: float, total: int = 1000) -> None:
    progress.start("describe", total, "tiles")
    for _ in range(steps):
        clock.now_s += step_s
        progress.advance(total // steps)
    progress.finish()


def _log(clock: Clock, run: Callable[[Progress], None]) -> list[str]:
    output = io.StringIO()
    with TerminalProgress(Console(file=output, width=40), clock) as progress:
        run(progress)
    return output.getvalue().splitlines()


def test_a_log_has_a_line_every_ten_seconds_and_one_at_the_end(clock: Clock) -> None:
    assert _log(clock, lambda progress: _run(progress, clock, steps=10, step_s=6.0)) == [
        "describe: 200 of 1,000 tiles (20%), 16.7/s, 0:12, 0:48 left",
        "describe: 400 of 1,000 tiles (40%), 16.7/s, 0:24, 0:36 left",
        "describe: 600 of 1,000 tiles (60%), 16.7/s, 0:36, 0:24 left",
        "describe: 800 of 1,000 tiles (80%), 16.7/s, 0:48, 0:12 left",
        "describe: 1,000 tiles, 16.7/s, 1:00",
    ]


def test_a_quick_stage_is_one_line_of_the_log(clock: Clock) -> None:
    lines = _log(clock, lambda progress: _run(progress, clock, steps=100, step_s=0.05, total=5_094_300))
    assert lines == ["describe: 5,094,300 tiles, 1.02M/s, 0:05"]


def test_stages_lie_within_one_another(clock: Clock) -> None:
    def run(progress: Progress) -> None:
        progress.start("build", 2, "steps")
        _run(progress, clock, steps=1, step_s=2.0)
        progress.advance(1)
        progress.note("[bold]10 tiles have no land[/bold]")
        progress.finish()

    assert _log(clock, run) == [
        "describe: 1,000 tiles, 500/s, 0:02",
        "[bold]10 tiles have no land[/bold]",
        "build: 1 of 2 steps, 0.50/s, 0:02, 0:02 left",
    ]


def test_a_stage_of_nothing_has_no_rate(clock: Clock) -> None:
    def run(progress: Progress) -> None:
        progress.start("pair", 0, "tiles")
        progress.finish()

    assert _log(clock, run) == ["pair: 0 tiles, 0:00"]


@pytest.mark.parametrize(
    ("done", "seconds", "pace"),
    [
        (1, 4, "0.25/s, 0:04"),
        (314, 10, "31.4/s, 0:10"),
        (9996, 1000, "10.0/s, 16:40"),
        (99_960, 1000, "100/s, 16:40"),
        (412, 1, "412/s, 0:01"),
        (9_996, 10, "1.00k/s, 0:10"),
        (123_456, 10, "12.3k/s, 0:10"),
        (4_000_000_000, 4000, "1.00M/s, 1:06:40"),
    ],
)
def test_rates_have_three_figures(clock: Clock, done: int, seconds: float, pace: str) -> None:
    lines = _log(clock, lambda progress: _run(progress, clock, steps=1, step_s=seconds, total=done))
    assert lines == [f"describe: {done:,} {'tile' if done == 1 else 'tiles'}, {pace}"]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Console, Callable[[], str]]]:
    """A console on a pseudo-terminal of 80 columns, and what was written to it so far."""
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    text = b""

    def written() -> str:
        nonlocal text
        with suppress(BlockingIOError):
            while True:  # a pseudo-terminal hands out a few kilobytes at a time
                text += os.read(master, 1 << 20)
        return text.decode()

    with os.fdopen(slave, "w") as file:
        yield Console(file=file, width=80), written
    os.close(master)


def _rows(written: str) -> list[str]:
    """Rows without the codes for colour and movement."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r", "\n").splitlines()


def _wait_for(text: str, written: Callable[[], str]) -> None:
    until = time.monotonic() + 10
    while text not in written():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_terminal_shows_bars_within_80_columns(terminal: tuple[Console, Callable[[], str]], clock: Clock) -> None:
    console, written = terminal
    with TerminalProgress(console, clock) as progress:
        progress.start("describe", 5_094_350, "tiles")
        clock.now_s += 3725
        progress.advance(1_910_370)
        progress.start("fetch climate map", 90, "MB")
        clock.now_s += 1
        progress.advance(45)
        _wait_for("45 of 90 MB", written)
        progress.note("a note")
        progress.finish()
        progress.advance(5_094_350 - 1_910_370)
        progress.finish()
    text = written()
    rows = _rows(text)
    assert max(map(len, rows)) <= 80
    outer = re.compile(r"describe +[━╸╺]+ +1,910,370 of 5,094,350 tiles 513/s, 1:02:06, 1:43:30 left *")
    inner = re.compile(r"fetch climate map [━╸╺]+ +45 of 90 MB 45\.0/s, 0:01, 0:01 left *")
    assert any(map(outer.fullmatch, rows))
    assert any(map(inner.fullmatch, rows))
    assert "a note" in [row.strip() for row in rows]
    last = [row.strip() for row in rows if row.strip()][-1]
    assert re.fullmatch(r"describe ━+ 5,094,350 tiles 1\.37k/s, 1:02:06", last)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is shown again


def _fail_in_a_stage(console: Console) -> None:
    with TerminalProgress(console) as progress:
        progress.start("describe", 3, "tiles")
        raise ZeroDivisionError


def test_an_error_gives_the_terminal_back(terminal: tuple[Console, Callable[[], str]]) -> None:
    console, written = terminal
    with pytest.raises(ZeroDivisionError):
        _fail_in_a_stage(console)
    text = written()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_no_progress_is_a_progress_that_says_nothing(capfd: pytest.CaptureFixture[str], clock: Clock) -> None:
    progress: Progress = NoProgress()
    _run(progress, clock, steps=2, step_s=20)
    progress.note("nothing")
    assert capfd.readouterr() == ("", "")


def test_the_default_goes_to_standard_error(capfd: pytest.CaptureFixture[str], clock: Clock) -> None:
    with TerminalProgress(clock=clock) as progress:
        _run(progress, clock, steps=1, step_s=1)
    assert capfd.readouterr() == ("", "describe: 1,000 tiles, 1.00k/s, 0:01\n")
