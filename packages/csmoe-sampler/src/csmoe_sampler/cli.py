"""The commands. Thin: options become a configuration, the work is in `pipeline`; modules are imported late."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from csmoe_sampler.errors import SamplerError

if TYPE_CHECKING:
    from csmoe_sampler.config import BuildConfig
    from csmoe_sampler.manifest import Manifest
    from csmoe_sampler.pipeline import Outputs, Runtime
    from csmoe_sampler.plan import Plan
    from csmoe_sampler.progress import Progress

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

Region = Annotated[
    str | None,
    typer.Option(
        help="global, a continent, an ISO 3166 code, lon_min,lat_min,lon_max,lat_max, or a vector file.",
        show_default="global",
    ),
]
Number = Annotated[int | None, typer.Option("--n", help="Tiles to draw.", show_default="100000")]
Seed = Annotated[int | None, typer.Option(help="Seed of every random decision.", show_default="0")]
Config = Annotated[Path | None, typer.Option(help="TOML file with any key of the configuration; options win over it.")]
GridKm = Annotated[float | None, typer.Option(help="Spacing of the Major TOM grid in km.", show_default="10")]
Landcover = Annotated[
    list[str] | None,
    typer.Option(help="Land-cover raster: path, URL or glob, repeatable.", show_default="ESA WorldCover through STAC"),
]
LegendName = Annotated[
    str | None,
    typer.Option(
        "--legend", help="Legend of the land cover: a shipped name or a TOML file.", show_default="worldcover"
    ),
]
Climate = Annotated[
    str | None,
    typer.Option(help="Köppen-Geiger map: path, beck2023 or terraclimate.", show_default="beck2023, downloaded once"),
]
Temperature = Annotated[str | None, typer.Option(help="Monthly temperature normals, instead of a climate map.")]
Precipitation = Annotated[str | None, typer.Option(help="Monthly precipitation normals, with --temperature.")]
StacUrl = Annotated[str | None, typer.Option(help="STAC API or static catalogue with the land cover.")]
Collection = Annotated[str | None, typer.Option(help="Collection in it.")]
Approximate = Annotated[
    int | None,
    typer.Option(help="Count on the overview of this decimation factor: fast, and biased against rare classes."),
]
Reproject = Annotated[
    bool, typer.Option("--reproject", help="Warp rasters in a projected CRS to longitude and latitude.")
]
ObjectiveName = Annotated[
    str | None,
    typer.Option("--objective", help="diverse, spread, random, proportional or kmeans.", show_default="diverse"),
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail where the region has fewer tiles on land than --n.")]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler, tcp://host:8786.", show_default="this machine")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads on this machine.", show_default="all cores")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and stop.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that other settings have made.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


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

    settings = _config(
        config,
        _source_overrides(landcover, legend, climate, temperature, precipitation, stac_url, collection)
        | _reading_overrides(grid_km, approximate, reproject)
        | {"region": region, "n": n, "seed": seed, "selection.objective": objective, "strict": strict or None},
    )
    runtime = _runtime(scheduler, workers, quiet)
    if dry_run:
        _say_plan(pipeline.plan(settings, pipeline.Outputs.beside(out, atlas=atlas).atlas, runtime))
        return
    outputs = pipeline.Outputs.beside(out, atlas=atlas, report=report)
    manifest = pipeline.build(settings, outputs, runtime, overwrite=overwrite)
    _say_manifest(manifest, outputs)


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

    settings = _config(
        config,
        _source_overrides(landcover, legend, climate, temperature, precipitation, stac_url, collection)
        | _reading_overrides(grid_km, approximate, reproject)
        | {"region": region},
    )
    runtime = _runtime(scheduler, workers, quiet)
    if dry_run:
        _say_plan(pipeline.plan(settings, out, runtime))
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
    manifest = pipeline.select(settings, outputs, _runtime(None, workers, quiet), overwrite=overwrite)
    _say_manifest(manifest, outputs)


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

    pipeline.report(manifest, pipeline.Outputs.beside(manifest, atlas=atlas).atlas, out, _runtime(None, None, quiet))
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
    settings = _config(
        config,
        _source_overrides(landcover, legend, climate, None, None, stac_url, collection)
        | _reading_overrides(grid_km, approximate, reproject)
        | {"region": region, "n": n},
    )
    from csmoe_sampler import pipeline

    place = atlas or pipeline.Outputs.beside(Path("out.parquet")).atlas
    _say_plan(pipeline.plan(settings, place, _runtime(None, workers, quiet=False), mbit_s))


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
    for name, value in found.facts():
        typer.echo(f"{name:<34} {value}")
    typer.echo("\nstrata held least and most, against their share of the population:")
    lines = found.rows(limit=8)
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    for line in lines:
        cells = [
            f"{cell:<{width}}" if k == 0 else f"{cell:>{width}}"
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        typer.echo("  ".join(cells))


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

    earth = write_earth(out, size, seed, _progress(quiet))
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

    runtime = _runtime(None, workers, quiet)
    outputs = pipeline.quickstart(out, n, runtime)
    typer.echo(f"manifest in {outputs.manifest}\nreport in {outputs.report}")


def _source_overrides(
    landcover: list[str] | None,
    legend: str | None,
    climate: str | None,
    temperature: str | None,
    precipitation: str | None,
    stac_url: str | None,
    collection: str | None,
) -> dict[str, Any]:
    return {
        "landcover.source": landcover or None,
        "landcover.legend": legend,
        "landcover.stac.url": stac_url,
        "landcover.stac.collection": collection,
        "climate.source": climate,
        "climate.temperature": temperature,
        "climate.precipitation": precipitation,
    }


def _reading_overrides(grid_km: float | None, approximate: int | None, reproject: bool) -> dict[str, Any]:
    return {
        "grid.spacing_km": grid_km,
        "landcover.approximate": approximate,
        "landcover.reproject": reproject or None,
    }


def _config(path: Path | None, overrides: dict[str, Any]) -> BuildConfig:
    from csmoe_sampler.config import load_config

    return load_config(path, overrides)


def _progress(quiet: bool) -> Progress:
    from csmoe_sampler.progress import NoProgress, TerminalProgress

    return NoProgress() if quiet else TerminalProgress()


def _runtime(scheduler: str | None, workers: int | None, quiet: bool) -> Runtime:
    from csmoe_sampler.pipeline import Runtime

    return Runtime(scheduler=scheduler, workers=workers, progress=_progress(quiet))


def _say_plan(plan: Plan) -> None:
    typer.echo(f"region {plan.region}: {plan.num_tiles:,} tiles, {plan.num_missing:,} of them still to describe")
    for name, cost in plan.reads.items():
        typer.echo(
            f"  {name:<12} {cost.files:>6,} files  {cost.requests:>9,} reads  {_size(cost.bytes):>9}"
            f"  {cost.pixels / 1e9:>9,.2f} Gpx"
        )
    typer.echo(f"time   about {_duration(plan.wall_s)} ({_duration(plan.download_s)} to bring, ", nl=False)
    typer.echo(f"{_duration(plan.decode_s)} to decode and count, side by side)")
    typer.echo(
        f"disk   about {_size(plan.atlas_bytes)} for the atlas, {_size(plan.manifest_bytes)} for {plan.n:,} rows"
    )


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say_manifest(manifest: Manifest, outputs: Outputs) -> None:
    for note in manifest.metadata["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"{len(manifest):,} tiles in {len(manifest.metadata['strata'])} strata -> {outputs.manifest}")
    if outputs.report:
        typer.echo(f"report -> {outputs.report}")


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
