"""The command that puts results side by side, or into the layout of a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def results(
    paths: Annotated[list[Path], typer.Argument(metavar="<results.json>", help="Files, or folders that hold them.")],
    out: Annotated[Path, typer.Option(metavar="<path>", help="Folder; a new or an empty one.")],
    to: Annotated[
        Literal["table", "torchgeo-bench", "geobench-2"], typer.Option(help="What to make of them.")
    ] = "table",
    view: Annotated[str, typer.Option(help="Sensor of a leaderboard's rows, or joint.")] = "joint",
    dataset: Annotated[str | None, typer.Option(help="The leaderboard's name of the data set.")] = None,
) -> None:
    """Put results of several runs into one table or leaderboard."""
    from csmoe_model.cli.comparing import finish
    from csmoe_model.errors import ConfigError
    from csmoe_model.evaluation.leaderboards import geobench_2, geobench_2_about, torchgeo_bench
    from csmoe_model.evaluation.records import read_records

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out}: has something in it already; choose another folder")
    records = [one for path in paths for one in read_records(path / "results.json" if path.is_dir() else path)]
    if to == "table":
        finish(out, records)
        return
    if dataset is None:
        raise ConfigError(f"--to {to}: give --dataset, the leaderboard's name of the data set")
    rows = torchgeo_bench if to == "torchgeo-bench" else geobench_2
    files = {
        "results_and_parameters.csv" if to == "geobench-2" else "results.csv": rows(records, view=view, dataset=dataset)
    }
    if to == "geobench-2":
        files["additional_info.json"] = geobench_2_about(records)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")
        typer.echo(out / name)
