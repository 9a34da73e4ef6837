"""The logs of a run and its progress: lines, resumes, kills, terminals, processes that are not the main one."""

import io
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from csmoe_model.errors import ConfigError, TrainingError
from csmoe_model.train.display import RECENT_STEPS, Display, Pace
from csmoe_model.train.logs import BoardLog, MetricsFile, WandbLog, read_metrics
from csmoe_model.train.metrics import Metrics


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s

    def pass_s(self, seconds):
        self.now_s += seconds


class Screen(io.StringIO):
    """A file that says that it is a terminal, or that it is none."""

    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def shown_on(terminal=False, width=80, quiet=False):
    screen, clock = Screen(terminal), Clock()
    console = Console(file=screen, width=width, height=10, quiet=quiet, force_terminal=terminal, color_system=None)
    return screen, clock, Display(console, clock)


def metrics_of(out, display=None, **options):
    display = display or shown_on()[2]
    return Metrics(out, **{"main": True, "quiet": True, "display": display, **options})


def lines_of(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_figures_come_with_loss_speed_waiting_and_epoch(tmp_path):
    _, clock, display = shown_on()
    with metrics_of(tmp_path / "run", display) as metrics:
        metrics.start(20, 0, 6, epoch_steps=4)
        metrics.record(0, {"knn/s2": 0.5}, under="probe")
        for step in (1, 2, 3):
            with metrics.waiting():
                clock.pass_s(0.5)
            clock.pass_s(1.5 if step < 3 else 0.5)
            metrics.step(step, {"umr/s1": 1.25, "lr": 1e-4} if step > 1 else None, 3.0 / step)
            with metrics.aside():
                clock.pass_s(40.0)
        metrics.record(3, {"x": 1.0})
    first, second, third, fourth = lines_of(tmp_path / "run")
    assert first == {"step": 0, "probe/knn/s2": 0.5}
    expected = {"step": 2, "loss": 1.5, "umr/s1": 1.25, "lr": 1e-4, "samples_s": 3.0, "data_wait": 0.25, "epoch": 0.5}
    assert second == pytest.approx(
        expected
    )  # two steps of six in 4 s, 1 s of it waiting; what was aside does not count
    expected = {"step": 3, "loss": 1.0, "umr/s1": 1.25, "lr": 1e-4, "samples_s": 6.0, "data_wait": 0.5, "epoch": 0.75}
    assert third == pytest.approx(expected)  # since the last line only
    assert fourth == {"step": 3, "x": 1.0}


def test_a_line_is_in_the_file_when_it_has_been_written(tmp_path):
    metrics = metrics_of(tmp_path)
    metrics.start(5, 0, 1)
    metrics.step(1, {"lr": 0.5}, 2.0)
    assert lines_of(tmp_path)[0]["lr"] == 0.5
    metrics.finish()
    metrics.finish()


def test_what_is_not_finite_is_null(tmp_path):
    with metrics_of(tmp_path) as metrics:
        metrics.start(5, 0, 1)
        metrics.step(1, {"a": float("nan"), "b": float("-inf"), "c": 0.0}, float("inf"))
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text
    (line,) = lines_of(tmp_path)
    assert (line["loss"], line["a"], line["b"], line["c"]) == (None, None, None, 0.0)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(st.integers(0, 30), min_size=1, max_size=12).map(sorted),
    torn=st.integers(0, 60),
    at=st.integers(0, 30),
)
def test_a_killed_run_keeps_its_whole_lines_up_to_the_step_it_goes_on_from(tmp_path_factory, steps, torn, at):
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    log = MetricsFile(path, 0)
    for k, step in enumerate(steps):
        log.write(step, {"loss": k / 3, "bad": float("nan")})
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - torn])  # the kill came within a line
    kept = [k for k, end in enumerate(_ends(whole)) if end <= len(whole) - torn and steps[k] <= at]
    log = MetricsFile(path, at)
    log.write(at + 1, {"loss": 9.0})
    log.close()
    expected = [{"step": steps[k], "loss": k / 3, "bad": None} for k in kept] + [{"step": at + 1, "loss": 9.0}]
    assert read_metrics(path) == expected == [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.jsonl"]


def _ends(text):
    return [k + 1 for k, sign in enumerate(text) if sign == ord("\n")]


DAMAGED = [
    b'{"step": 3, "lo',
    b"\x00\x00\x00\n",
    b"\xff\xfe\n",
    b"[1, 2]\n",
    b'{"loss": 1.0}\n',
    b'{"step": "x"}\n',
    b"\n",
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_lines_that_cannot_be_read_are_left_out(tmp_path, damage):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 2.0}\n' + damage)
    assert read_metrics(path) == [{"step": 1, "loss": 2.0}]
    MetricsFile(path, 5).close()
    assert path.read_bytes() == b'{"step": 1, "loss": 2.0}\n'


def test_a_full_disk_is_one_clear_line(tmp_path):
    log = MetricsFile(tmp_path / "metrics.jsonl", 0)
    log._file.close()
    log._file = Path("/dev/full").open("w")  # noqa: SIM115
    with pytest.raises(
        TrainingError, match=r"metrics\.jsonl: cannot be written \(No space left on device\): make room"
    ):
        log.write(1, {"loss": 1.0})
    with pytest.raises(TrainingError, match="No space left"):
        log.close()
    (tmp_path / "folder").mkdir()
    with pytest.raises(TrainingError, match=r"folder: cannot be written"):
        MetricsFile(tmp_path / "folder", 0)


def scalars_of(folder):
    events = EventAccumulator(str(folder), purge_orphaned_data=True)
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_the_finite_figures_and_purges_at_a_resume(tmp_path):
    log = BoardLog(tmp_path, 0)
    for step in range(6):
        log.write(step, {"loss": float(step), "cmr/s1>s2": 0.5 if step else float("nan")})
    log.close()
    log = BoardLog(tmp_path, 3)
    log.write(4, {"loss": 40.0})
    log.close()
    found = scalars_of(tmp_path)
    assert found["loss"] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]
    assert found["cmr/s1-s2"] == [(1, 0.5), (2, 0.5), (3, 0.5)]


def test_a_run_writes_both_and_resumes_both(tmp_path):
    for first, last in ((0, 4), (2, 3)):
        with metrics_of(tmp_path) as metrics:
            metrics.start(4, first, 1)
            for step in range(first + 1, last + 1):
                metrics.step(step, {"lr": float(first)}, 1.0)
    assert [(line["step"], line["lr"]) for line in lines_of(tmp_path)] == [(1, 0.0), (2, 0.0), (3, 2.0)]
    assert scalars_of(tmp_path / "tensorboard")["lr"] == [(1, 0.0), (2, 0.0), (3, 2.0)]


def test_only_the_main_process_writes_and_shows(tmp_path, capfd):
    with Metrics(tmp_path / "run", main=False, quiet=False, wandb="p") as metrics:
        metrics.start(2, 0, 4)
        metrics.note("something")
        with metrics.waiting():
            pass
        metrics.step(1, {"lr": 1.0}, 2.0)
        metrics.record(1, {"x": 1.0})
        assert metrics.samples_s > 0
    assert not (tmp_path / "run").exists()
    assert capfd.readouterr() == ("", "")


def test_a_quiet_run_writes_and_shows_nothing(tmp_path, capfd):
    with Metrics(tmp_path, main=True, quiet=True) as metrics:
        metrics.start(1, 0, 4)
        metrics.step(1, {"lr": 1.0}, 2.0)
    assert len(lines_of(tmp_path)) == 1
    assert capfd.readouterr() == ("", "")


def test_pace_is_of_the_recent_steps():
    clock = Clock()
    pace = Pace(clock)
    assert (pace.steps_s, pace.wait_share) == (0.0, 0.0)
    pace.start(1000)
    for step in range(1, RECENT_STEPS + 21):
        with pace.waiting():
            clock.pass_s(3.0 if step <= 20 else 0.1)  # the beginning is slow
        clock.pass_s(0.4)
        pace.mark(1000 + step)
    assert pace.steps_s == pytest.approx(2.0)
    assert pace.wait_share == pytest.approx(0.2)
    assert pace.last.steps_s(pace.first) == pytest.approx(70 / (20 * 3.4 + 50 * 0.5))


def test_time_counts_as_waiting_and_aside_when_they_end_in_an_error():
    clock = Clock()
    pace = Pace(clock)

    def spend(seconds):
        clock.pass_s(seconds)
        raise StopIteration

    for context, seconds in ((pace.waiting, 2.0), (pace.aside, 5.0)):
        with pytest.raises(StopIteration), context():
            spend(seconds)
    mark = pace.mark(1)
    assert (mark.clock_s - pace.first.clock_s, mark.waited_s) == (2.0, 2.0)


def test_elsewhere_a_line_comes_every_ten_seconds(tmp_path):
    screen, clock, display = shown_on(width=20)  # lines of a log are not cut
    with metrics_of(tmp_path, display) as metrics:
        metrics.start(4000, 1000, 32, epoch_steps=62.5)
        metrics.note("probe at step 1,000: [s2] 0.5")
        for step in range(1001, 1101):
            with metrics.waiting():
                clock.pass_s(0.01)
            clock.pass_s(0.24)
            metrics.step(step, None, 2.34567)
    told = screen.getvalue().splitlines()
    assert told == [
        "probe at step 1,000: [s2] 0.5",
        "pretrain: step 1,040 of 4,000, epoch 17 of 64, loss 2.346, 128 samples/s, data wait 4.0%, 12:20 left",
        "pretrain: step 1,080 of 4,000, epoch 18 of 64, loss 2.346, 128 samples/s, data wait 4.0%, 12:10 left",
        "pretrain: 100 steps in 0:25, loss 2.346, 128 samples/s, data wait 4.0%",
    ]


EPOCHS = [
    (0, 10, 4.0, "1 of 3"),
    (4, 10, 4.0, "2 of 3"),
    (10, 10, 4.0, "3 of 3"),
    (8, 8, 4.0, "2 of 2"),
    (3, 9, 1.5, "3 of 6"),
]


@pytest.mark.parametrize(("step", "steps", "epoch_steps", "expected"), EPOCHS)
def test_epochs_count_from_one_to_the_last(step, steps, epoch_steps, expected):
    _, _, display = shown_on()
    display.start(steps, step, 1, epoch_steps)
    assert display._epoch() == f"epoch {expected}"


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_a_bar_in_two_rows_that_fit(tmp_path, width):
    screen, clock, display = shown_on(terminal=True, width=width)
    with metrics_of(tmp_path, display) as metrics:
        metrics.start(150_000, 123_000, 1024, epoch_steps=1000)
        for step in range(123_001, 123_020):
            with metrics.waiting():
                clock.pass_s(0.001)
            clock.pass_s(0.099)
            metrics.step(step, None, 10.98765)
        rows = ["".join(part.text for part in row) for row in display.console.render_lines(display._bar())]
        metrics.note("a note " * 20)
    assert len(rows) == 2 and all(len(row) <= width for row in rows)
    assert rows[0].startswith("pretrain ━") and rows[0].rstrip().endswith("123,019 of 150,000 steps 0:02, 44:58 left")
    assert rows[1].strip() == "epoch 124 of 150, loss 10.99, 10.2k samples/s, data wait 1.0%"
    shown = screen.getvalue()
    assert "\x1b[?25l" in shown and shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor comes back
    assert "pretrain: 19 steps in 0:02, loss 10.99, 10.2k samples/s, data wait 1.0%" in shown


def test_an_error_gives_the_terminal_back_and_keeps_the_lines(tmp_path):
    screen, _, display = shown_on(terminal=True)
    metrics = metrics_of(tmp_path, display)
    metrics.start(10, 0, 1)
    metrics.step(1, {"lr": 1.0}, 1.0)
    with pytest.raises(TypeError), metrics:
        metrics.step(2, {"lr": "much"}, 1.0)
    assert "\x1b[?25h" in screen.getvalue()
    assert len(lines_of(tmp_path)) == 1


def test_an_unfinished_start_leaves_nothing_running(tmp_path):
    """Before the first step nothing is known, and nothing divides by zero."""
    screen, _, display = shown_on()
    with metrics_of(tmp_path, display) as metrics:
        metrics.start(10, 0, 1)
        assert (metrics.samples_s, metrics.data_wait) == (0.0, 0.0)
        metrics.step(1, {}, 1.0)  # in no time at all
        assert lines_of(tmp_path)[0]["samples_s"] == 0.0
    assert screen.getvalue() == "pretrain: 1 steps in 0:00, loss 1, data wait 0.0%\n"


WANDB = """
import json, sys, wandb
from pathlib import Path
from csmoe_model.train.metrics import Metrics
for first in (0, 2):
    with Metrics(Path(sys.argv[1]), main=True, quiet=False, wandb="team/trial", config={"seed": 3}) as metrics:
        metrics.start(4, first, 1)
        run = metrics._logs[-1]._run
        for step in range(first + 1, 4):
            metrics.step(step, {"lr": 0.5, "bad": float("nan")}, 1.0)
        print(json.dumps([run.id, run.project, run.entity, run.config.get("seed"), dict(run.summary)]))
"""


def test_wandb_offline_keeps_one_run_over_a_resume(tmp_path):
    """The real library, in a process of its own."""
    pytest.importorskip("wandb")
    out = tmp_path / "run"
    homes = dict.fromkeys(("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"), str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    environment = os.environ | homes | {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
    done = subprocess.run(
        [sys.executable, "-c", WANDB, str(out)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(one[0] == other[0] for one, other in pairwise(runs))
    identity = (out / "wandb_id.txt").read_text().strip()
    for found, project, entity, seed, summary in runs:
        assert (found, project, entity, seed) == (identity, "trial", "team", 3)
        assert summary["lr"] == 0.5 and summary["step"] == 3 and "bad" not in summary
    assert list((out / "wandb").glob(f"offline-run-*-{identity}"))  # one where both began in the same second
    assert done.stderr.count("Weights & Biases: offline") == 2
    assert [line["step"] for line in lines_of(out)] == [1, 2, 3]


def test_a_missing_wandb_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        ConfigError, match=r"not installed: run `pip install 'csmoe-model\[wandb\]'`, or leave --wandb out"
    ):
        WandbLog("project", tmp_path, {})
    with metrics_of(tmp_path) as metrics:  # not asked for: not imported
        metrics.start(1, 0, 1)
