"""Commands that try everything offline, on a synthetic Earth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from csmoe_sampler.cli.options import Quiet, Workers
from csmoe_sampler.cli.settings import runtime_of, terminal_progress


def earth(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("earth"),
    size: Annotated[
        Literal["small", "medium", "large"], typer.Option(help="Seconds, minutes, or real pixel size.")
    ] = "small",
    seed: Annotated[int, typer.Option(help="Which Earth.")] = 0,
    scene_set: Annotated[
        Literal["none", "small", "medium"], typer.Option(help="Sentinel scenes of no, six or 23 places.")
    ] = "small",
    quiet: Quiet = False,
) -> None:
    """Write a synthetic Earth as COGs with a STAC catalogue.

    Land cover, climate, elevation and Sentinel scenes.
    """
    from csmoe_sampler.synthetic import write_earth, write_scenes

    progress = terminal_progress(quiet)
    earth = write_earth(out, size, seed, progress)
    typer.echo(f"synthetic Earth in {earth.root}")
    if scene_set != "none":
        written = write_scenes(earth, scene_set, progress)
        typer.echo(f"{written.num_scenes} Sentinel scenes in {written.catalog}, of {written.region}")


def quickstart(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo"),
    n: Annotated[int, typer.Option(help="Tiles to draw.")] = 300,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """The whole chain without network.

    A synthetic Earth with Sentinel scenes, a sample of its tiles, their scenes and pixels, and the report.
    """
    from csmoe_sampler import demo

    outputs, chips = demo.quickstart(out, n, runtime_of(None, workers, quiet))
    typer.echo(f"manifest in {outputs.manifest}\nchips in {chips}\nreport in {outputs.report}")
