"""The commands. Thin: options become a configuration, the work is in `pipeline`; modules are imported late."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from csmoe_sampler.cli.options import (
    Approximate,
    Climate,
    Collection,
    Config,
    DryRun,
    GridKm,
    Landcover,
    LegendName,
    Number,
    ObjectiveName,
    Overwrite,
    Precipitation,
    Quiet,
    Region,
    Reproject,
    Scheduler,
    Seed,
    StacUrl,
    Strict,
    Temperature,
    Workers,
)
from csmoe_sampler.cli.settings import reading_overrides, resolve, runtime_of, source_overrides, terminal_progress
from csmoe_sampler.cli.speech import say_audit, say_manifest, say_plan
from csmoe_sampler.errors import SamplerError

app = typer.Typer(
    name="csmoe-sample",
    help="Representative, diverse Earth-observation tiles from land cover and climate.",
    epilog="Add --debug to any command for the full traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
demo_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Try everything offline, on a synthetic Earth."
)
app.add_typer(demo_app, name="demo")


@app.command()
def build(
    region: Region = None,
    n: Number = None,
    out: Annotated[Path, typer.Option(help="The manifest to write.")] = Path("out.parquet"),
    config: Config = None,
    seed: Seed = None,
    landcover: Landcover = None,
    legend: LegendName = None,
    climate: Climate = None,
    temperature: Temperature = None,
    precipitation: Precipitation = None,
    stac_url: StacUrl = None,
    collection: Collection = None,
    grid_km: GridKm = None,
    objective: ObjectiveName = None,
    approximate: Approximate = None,
    reproject: Reproject = False,
    strict: Strict = False,
    atlas: Annotated[
        Path | None, typer.Option(help="Atlas to use and extend.", show_default="beside the manifest")
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the report page too.")] = True,
    scheduler: Scheduler = None,
    workers: Workers = None,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Draw a sample of a region: manifest and report.

    Tiles -> descriptors -> selection -> manifest.

    Killed at any moment, the same command continues where it was, with the same result.
    """
    from csmoe_sampler import pipeline

    settings = resolve(
        config,
        source_overrides(landcover, legend, climate, temperature, precipitation, stac_url, collection)
        | reading_overrides(grid_km, approximate, reproject)
        | {"region": region, "n": n, "seed": seed, "selection.objective": objective, "strict": strict or None},
    )
    runtime = runtime_of(scheduler, workers, quiet)
    if dry_run:
        say_plan(pipeline.plan(settings, pipeline.Outputs.beside(out, atlas=atlas).atlas, runtime))
        return
    outputs = pipeline.Outputs.beside(out, atlas=atlas, report=report)
    manifest = pipeline.build(settings, outputs, runtime, overwrite=overwrite)
    say_manifest(manifest, outputs)


@app.command()
def describe(
    out: Annotated[Path, typer.Option(help="The atlas (a folder of Parquet parts).")],
    region: Region = None,
    config: Config = None,
    landcover: Landcover = None,
    legend: LegendName = None,
    climate: Climate = None,
    temperature: Temperature = None,
    precipitation: Precipitation = None,
    stac_url: StacUrl = None,
    collection: Collection = None,
    grid_km: GridKm = None,
    approximate: Approximate = None,
    reproject: Reproject = False,
    scheduler: Scheduler = None,
    workers: Workers = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Describe the tiles of a region: the atlas.

    Class shares of land cover and climate, and further descriptors.

    The atlas is reusable: another region or another descriptor extends it, and only what is missing is read.
    """
    from csmoe_sampler import pipeline

    settings = resolve(
        config,
        source_overrides(landcover, legend, climate, temperature, precipitation, stac_url, collection)
        | reading_overrides(grid_km, approximate, reproject)
        | {"region": region},
    )
    runtime = runtime_of(scheduler, workers, quiet)
    if dry_run:
        say_plan(pipeline.plan(settings, out, runtime))
        return
    described = pipeline.describe(settings, out, runtime)
    typer.echo(f"{described.num_tiles:,} tiles with land in {out}")


@app.command()
def select(
    atlas: Annotated[Path, typer.Argument(help="An atlas that describe has written.")],
    n: Number = None,
    out: Annotated[Path, typer.Option(help="The manifest to write.")] = Path("out.parquet"),
    region: Annotated[
        str | None, typer.Option(help="Part of the atlas to draw from.", show_default="all of it")
    ] = None,
    config: Config = None,
    seed: Seed = None,
    objective: ObjectiveName = None,
    strict: Strict = False,
    report: Annotated[bool, typer.Option(help="Write the report page too.")] = False,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Draw a sample from an atlas."""
    from csmoe_sampler import pipeline

    overrides = {"region": region, "n": n, "seed": seed, "selection.objective": objective, "strict": strict or None}
    settings = pipeline.selection_config(atlas, config, overrides)
    outputs = pipeline.Outputs.beside(out, atlas=atlas, report=report)
    manifest = pipeline.select(settings, outputs, runtime_of(None, workers, quiet), overwrite=overwrite)
    say_manifest(manifest, outputs)


@app.command()
def report(
    manifest: Annotated[Path, typer.Argument(help="A manifest.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    atlas: Annotated[
        Path | None, typer.Option(help="The atlas it was drawn from.", show_default="beside the manifest")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write the report page of a manifest.

    Map, balance, coverage, comparison with random sampling, methods, provenance: one HTML file that works offline.
    """
    from csmoe_sampler import pipeline

    pipeline.report(manifest, pipeline.Outputs.beside(manifest, atlas=atlas).atlas, out, runtime_of(None, None, quiet))
    typer.echo(f"report in {out}")


@app.command()
def plan(
    region: Region = None,
    n: Number = None,
    config: Config = None,
    landcover: Landcover = None,
    legend: LegendName = None,
    climate: Climate = None,
    stac_url: StacUrl = None,
    collection: Collection = None,
    grid_km: GridKm = None,
    approximate: Approximate = None,
    reproject: Reproject = False,
    atlas: Annotated[Path | None, typer.Option(help="Atlas that is there already.")] = None,
    mbit_s: Annotated[float, typer.Option(min=0.1, help="Speed of the connection in Mbit/s.")] = 500.0,
    workers: Workers = None,
) -> None:
    """Say what a build will take.

    Tiles, requests, bytes, hours and disk, before they are spent.
    """
    settings = resolve(
        config,
        source_overrides(landcover, legend, climate, None, None, stac_url, collection)
        | reading_overrides(grid_km, approximate, reproject)
        | {"region": region, "n": n},
    )
    from csmoe_sampler import pipeline

    place = atlas or pipeline.Outputs.beside(Path("out.parquet")).atlas
    say_plan(pipeline.plan(settings, place, runtime_of(None, workers, quiet=False), mbit_s))


@app.command()
def validate(manifest: Annotated[Path, typer.Argument(help="A manifest.")]) -> None:
    """Check a manifest; name every violation."""
    from csmoe_sampler.manifest import validate as violations_of

    violations = violations_of(manifest)
    for violation in violations:
        typer.echo(str(violation))
    if violations:
        raise SamplerError(f"{manifest}: {len(violations)} kinds of violation; the first is: {violations[0]}")
    typer.echo(f"{manifest}: sound")


@app.command()
def audit(
    points: Annotated[
        Path, typer.Argument(help="CSV with lon and lat or tile_id, a vector file, GeoParquet, or a manifest.")
    ],
    atlas: Annotated[Path, typer.Option(help="The atlas to hold it against.")],
    config: Config = None,
    out: Annotated[Path | None, typer.Option(help="Write all figures as JSON too.")] = None,
) -> None:
    """Say what a list of places covers.

    Climates, land covers and strata that it reaches, misses, or holds too much of, whoever has made it.
    """
    from csmoe_sampler import pipeline

    found = pipeline.audit(points, atlas, config, out)
    say_audit(found)


@demo_app.command("earth")
def demo_earth(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("earth"),
    size: Annotated[
        Literal["small", "medium", "large"], typer.Option(help="Seconds, minutes, or real pixel size.")
    ] = "small",
    seed: Annotated[int, typer.Option(help="Which Earth.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Write a synthetic Earth: land cover, climate, elevation and a STAC catalogue, as genuine COGs."""
    from csmoe_sampler.synthetic import write_earth

    earth = write_earth(out, size, seed, terminal_progress(quiet))
    typer.echo(f"synthetic Earth in {earth.root}")


@demo_app.command("quickstart")
def demo_quickstart(
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("demo"),
    n: Annotated[int, typer.Option(help="Tiles to draw.")] = 2000,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Synthetic Earth, a build on it, and its report: everything in a minute, without network."""
    from csmoe_sampler import pipeline

    runtime = runtime_of(None, workers, quiet)
    outputs = pipeline.quickstart(out, n, runtime)
    typer.echo(f"manifest in {outputs.manifest}\nreport in {outputs.report}")


def main() -> None:
    """Runs a command; our own errors become one line and exit code 1."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except SamplerError as error:
        if debug:
            raise
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        typer.echo("stopped; the same command continues where it was", err=True)
        raise SystemExit(130) from None
