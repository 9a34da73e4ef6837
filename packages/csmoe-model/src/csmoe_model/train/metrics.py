"""What a run says while it trains: figures to its logs, progress to the terminal.

with Metrics(...) as metrics:
    metrics.start(steps, step, places)
    while ...:
        with metrics.waiting(): batch = next(batches)
        ...
        metrics.step(step, figures or None, loss)
    # and now and then: with metrics.aside(): metrics.record(step, probe.figures(...), under="probe")
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from csmoe_model.train.display import Display
from csmoe_model.train.logs import BOARD, METRICS, BoardLog, Log, MetricsFile, WandbLog


class Metrics:
    """Figures of a run by step; cut back to the step that a run is resumed from.

    A context manager: leaving it, by an error too, closes the logs and gives the terminal back.

    Args:
        out: The run's folder, with `metrics.jsonl` and `tensorboard`.
        main: Whether this process writes and shows; the others measure only.
        quiet: Show nothing.
        wandb: Project of Weights & Biases to log to as well.
        config: What decides the run, for those who look at it there.
        display: Default: on standard error.
    """

    def __init__(
        self,
        out: Path,
        *,
        main: bool,
        quiet: bool,
        wandb: str | None = None,
        config: Mapping[str, Any] | None = None,
        display: Display | None = None,
    ) -> None:
        self._out, self._main = out, main
        self._wandb, self._config = wandb, config or {}
        self._display = display or Display(Console(stderr=True, quiet=quiet or not main))
        self._pace = self._display.pace
        self._logs: list[Log] = []

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def start(self, steps: int, step: int, places: int, epoch_steps: float | None = None) -> None:
        """Opens the logs; steps begin.

        Args:
            steps: Of the whole run.
            step: Done before, 0 in a new run; what the logs have of later ones goes.
            places: In a step, of all processes together.
            epoch_steps: Steps in an epoch; figures then come with `epoch`.

        Raises:
            TrainingError: The logs cannot be written.
            ConfigError: Weights & Biases is missing or refuses.
        """
        self._places, self._epoch_steps = places, epoch_steps
        if self._main:
            self._out.mkdir(parents=True, exist_ok=True)
            self._logs.append(MetricsFile(self._out / METRICS, step))
            self._logs.append(BoardLog(self._out / BOARD, step))
            if self._wandb:
                remote = WandbLog(self._wandb, self._out, self._config)
                self._logs.append(remote)
                self.note(f"Weights & Biases: {remote.url or 'offline'}")
        self._display.start(steps, step, places, epoch_steps)
        self._written = self._pace.first

    def waiting(self) -> AbstractContextManager[None]:
        """A context: time spent in it is waiting for data."""
        return self._pace.waiting()

    def aside(self) -> AbstractContextManager[None]:
        """A context: time spent in it (probes, checkpoints) counts neither for the speed nor as waiting."""
        return self._pace.aside()

    def step(self, step: int, figures: Mapping[str, float] | None, loss: float) -> None:
        """A step is done.

        Args:
            step: Its number, from 1.
            figures: To be written, with `loss`, `samples_s` and `data_wait` since the last ones; None: nothing now.
            loss: Of the step; may be anything but finite.
        """
        now = self._pace.mark(step)
        if figures is not None:
            own = {
                "loss": loss,
                **figures,
                "samples_s": now.steps_s(self._written) * self._places,
                "data_wait": now.wait_share(self._written),
            }
            if self._epoch_steps:
                own["epoch"] = step / self._epoch_steps
            self._written = now
            self._write(step, own)
        self._display.step(loss)

    @property
    def samples_s(self) -> float:
        """Places a second, over the recent steps."""
        return self._pace.steps_s * self._places

    @property
    def data_wait(self) -> float:
        """Share of the time spent waiting for data, over the recent steps."""
        return self._pace.wait_share

    def record(self, step: int, figures: Mapping[str, float], under: str = "") -> None:
        """Writes figures of their own, such as a probe's.

        Args:
            step: That they were taken after.
            figures: By name.
            under: Put before the names: `probe` makes `knn/s2` `probe/knn/s2`.
        """
        self._write(step, {f"{under}/{name}" if under else name: value for name, value in figures.items()})

    def note(self, text: str) -> None:
        """Shows a line."""
        self._display.note(text)

    def finish(self) -> None:
        """Closes all; once is enough, twice does no harm."""
        self._display.finish()
        while self._logs:
            self._logs.pop().close()

    def _write(self, step: int, figures: Mapping[str, float]) -> None:
        for log in self._logs:
            log.write(step, figures)
