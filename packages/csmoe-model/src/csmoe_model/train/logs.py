"""Where the figures of a run go: metrics.jsonl, TensorBoard, Weights & Biases."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from csmoe_model.errors import ConfigError, TrainingError

METRICS, BOARD, WANDB_ID = "metrics.jsonl", "tensorboard", "wandb_id.txt"


class Log(Protocol):
    """A place that takes figures by step."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Takes figures of a step; some may not be finite."""

    def close(self) -> None:
        """Nothing more will come."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, each with `step` and figures, None where one was not finite.

    A line that cannot be read, such as one torn by a kill, is left out.
    """
    lines = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            found = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:  # not JSON, or not UTF-8
            continue
        if isinstance(found, dict) and isinstance(found.get("step"), int):
            lines.append(found)
    return lines


class MetricsFile:
    """metrics.jsonl: one JSON object a line, `null` for what is not finite.

    Args:
        path: The file; a new one is begun where there is none.
        step: Step that the run goes on from; lines of later ones, which will be done again, go.

    Raises:
        TrainingError: The file cannot be written.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        try:
            if path.exists():
                self._cut_back(step)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise self._refused(error) from error

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """A line, in the file when this returns."""
        known = {key: value if math.isfinite(value) else None for key, value in figures.items()}
        try:
            self._file.write(json.dumps({"step": step, **known}, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Closes the file."""
        try:
            self._file.close()
        except OSError as error:  # a full disk: what could not be flushed before
            raise self._refused(error) from error

    def _cut_back(self, step: int) -> None:
        kept = [json.dumps(line) for line in read_metrics(self.path) if line["step"] <= step]
        draft = self.path.with_name(f".{self.path.name}.tmp-{os.getpid()}")
        try:
            with draft.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in kept)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)

    def _refused(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"metrics file {self.path}: cannot be written ({error.strerror}): make room or give access, then --resume"
        )


class BoardLog:
    """TensorBoard's event files.

    Args:
        folder: Of the run's events.
        step: Step that the run goes on from; TensorBoard drops what it had of later ones.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """A scalar each; what is not finite is left out, and signs that tags cannot have become `-`."""
        for name, value in figures.items():
            if math.isfinite(value):
                self._writer.add_scalar(re.sub(r"[^-/\w.]", "-", name), value, step)

    def close(self) -> None:
        """Writes what is waiting."""
        self._writer.close()


class WandbLog:
    """A run of Weights & Biases, the same one after a resume.

    Figures are drawn over `step`; those of steps that are done again after a kill stand there twice, with equal values.

    Args:
        project: `project` or `entity/project`.
        folder: Of the run; its id is kept there.
        config: Shown beside the figures.

    Raises:
        ConfigError: wandb is not installed, or it refuses.
    """

    def __init__(self, project: str, folder: Path, config: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ConfigError(
                "Weights & Biases is not installed: run `pip install 'csmoe-model[wandb]'`, or leave --wandb out"
            ) from error
        entity, _, name = project.rpartition("/")
        try:
            self._run = wandb.init(
                project=name,
                entity=entity or None,
                id=_run_id(folder / WANDB_ID),
                name=folder.resolve().name,
                resume="allow",
                dir=folder,
                config=dict(config),
                settings=wandb.Settings(console="off", silent=True),
            )
            self._run.define_metric("step", hidden=True)
            self._run.define_metric("*", step_metric="step")
        except (wandb.errors.Error, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(
                f"Weights & Biases refuses project '{project}' ({reason}): log in with `wandb login`, set "
                "WANDB_MODE=offline, or leave --wandb out"
            ) from error

    @property
    def url(self) -> str | None:
        """Where the run can be seen; None offline."""
        address: str | None = self._run.url
        return address

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Sends the finite figures."""
        self._run.log({"step": step} | {name: value for name, value in figures.items() if math.isfinite(value)})

    def close(self) -> None:
        """Waits until all is sent."""
        self._run.finish()


def _run_id(path: Path) -> str:
    """The id that stands in a file; a new one where there is none."""
    if path.exists() and (found := path.read_text(encoding="utf-8").strip()):
        return found
    new = secrets.token_hex(4)
    path.write_text(f"{new}\n", encoding="utf-8")
    return new
