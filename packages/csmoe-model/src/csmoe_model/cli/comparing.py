"""What the commands that compare backbones share: the data set opened and checked, results gathered and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from csmoe_model.config import Section
    from csmoe_model.evaluation.comparison import Comparison
    from csmoe_model.evaluation.layouts import LayoutOptions
    from csmoe_model.evaluation.records import Record

Settings = TypeVar("Settings", bound="Section")
UNFINISHED = "unfinished.json"
"""Results of a comparison that goes on, or was ended before all backbones had theirs."""


def new(out: Path) -> None:
    """Makes the folder of results; raises ConfigError where there are some already."""
    from csmoe_model.errors import ConfigError

    if out.exists() and (not out.is_dir() or any((out / name).exists() for name in ("results.json", "model"))):
        raise ConfigError(f"--out {out}: has results already, or is no folder; choose another one")
    out.mkdir(parents=True, exist_ok=True)


def checked(section: type[Settings], *, lr: float | None = None, **values: Any) -> Settings:
    """A configuration from options; `lr` goes to its optimiser."""
    from pydantic import ValidationError

    from csmoe_model.errors import ConfigError
    from csmoe_model.train.files import problems

    if lr is not None:
        values["optimiser"] = section().model_dump()["optimiser"] | {"lr": lr}
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"options: {problems(error)}") from error


def opened(
    data: Path,
    format: str | None,
    layout: LayoutOptions,
    *,
    normalise: str,
    device: str,
    unsound: bool,
    quiet: bool,
    **loading: int,
) -> Comparison:
    """The data set, checked."""
    from dataclasses import replace

    from csmoe_model.cli.progress import counting
    from csmoe_model.device import find_device
    from csmoe_model.errors import ConfigError
    from csmoe_model.evaluation.checks import check_data, require_sound
    from csmoe_model.evaluation.comparison import Comparison
    from csmoe_model.evaluation.layouts import open_set

    place = find_device(device)
    if normalise not in ("auto", "model", "data"):
        raise ConfigError(f"--normalise {normalise}: give auto, model or data")
    found = open_set(data, format, layout)
    return Comparison(
        data=replace(found, notes=(*found.notes, *map(str, check_data(found)))) if unsound else require_sound(found),
        normalise=normalise,  # type: ignore[arg-type]
        device=place,
        counting=lambda name, total: counting(name, total, "samples", quiet=quiet),
        **loading,
    )


def gathered(out: Path, records: Iterable[Record]) -> list[Record]:
    """Records as they come; whatever happens to the last, those before it are kept beside the results."""
    from csmoe_model.evaluation.records import write_records

    found: list[Record] = []
    for record in records:
        found.append(record)
        write_records(out / UNFINISHED, found)
    return found


def finish(out: Path, records: list[Record]) -> None:
    """Writes results, and shows the headlines."""
    from rich.console import Console

    from csmoe_model.evaluation.comparison import write_results
    from csmoe_model.evaluation.screen import show

    paths = [path for path in write_results(out, records) if path.name != UNFINISHED]
    (out / UNFINISHED).unlink(missing_ok=True)
    show(records, Console(highlight=False))
    typer.echo("\n" + "\n".join(map(str, paths)))
