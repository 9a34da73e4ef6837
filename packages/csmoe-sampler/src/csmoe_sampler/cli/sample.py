"""Commands from a region to a manifest: build, describe, select, and what they will take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csmoe_sampler.cli.options import (
    Approximate,
    Climate,
    Collection,
    Config,
    Diversity,
    DryRun,
    GridKm,
    Items,
    Landcover,
    LegendName,
    Number,
    ObjectiveName,
    Overwrite,
    Precipitation,
    ProviderName,
    Quiet,
    Region,
    Reproject,
    ScenesUrl,
    Scheduler,
    Seasons,
    Seed,
    StacUrl,
    Strict,
    Temperature,
    Workers,
)
from csmoe_sampler.cli.settings import (
    diversity_override,
    reading_overrides,
    resolve,
    runtime_of,
    scene_overrides,
    source_overrides,
)
from csmoe_sampler.cli.speech import say_manifest, say_plan
from csmoe_sampler.errors import SamplerError


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
    diversity: Diversity = None,
    approximate: Approximate = None,
    reproject: Reproject = False,
    strict: Strict = False,
    pair: Annotated[bool, typer.Option("--pair", help="Choose scenes for the tiles too.")] = False,
    provider: ProviderName = None,
    scenes: ScenesUrl = None,
    items: Items = None,
    seasons: Seasons = None,
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

    Tiles -> descriptors -> selection (-> scenes) -> manifest.

    Killed at any moment, the same command continues where it was, with the same result.
    """
    from csmoe_sampler import pipeline

    settings = resolve(
        config,
        source_overrides(landcover, legend, climate, temperature, precipitation, stac_url, collection)
        | reading_overrides(grid_km, approximate, reproject)
        | {"region": region, "n": n, "seed": seed, "selection.objective": objective, "strict": strict or None},
    )
    where = scene_overrides(provider=provider, url=scenes, items=items)
    chosen = where | {"seasons": scene_overrides(seasons=seasons)["seasons"]}
    settings = diversity_override(
        settings, diversity, spectral={key: where[key] for key in ("provider", "url", "items")}
    )
    if not (pair or settings.spectral) and any(value is not None for value in chosen.values()):
        raise SamplerError("--provider, --scenes, --items and --seasons are for scenes: add --pair")
    runtime = runtime_of(scheduler, workers, quiet)
    if dry_run:
        say_plan(pipeline.plan(settings, pipeline.Outputs.beside(out, atlas=atlas).atlas, runtime))
        return
    outputs = pipeline.Outputs.beside(out, atlas=atlas, report=report)
    pairing = pipeline.scene_config(None, config, chosen) if pair else None
    manifest = pipeline.build(settings, outputs, runtime, scenes=pairing, overwrite=overwrite)
    say_manifest(manifest, outputs)


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
    diversity: Diversity = None,
    strict: Strict = False,
    report: Annotated[bool, typer.Option(help="Write the report page too.")] = False,
    workers: Workers = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Draw a sample from an atlas."""
    from csmoe_sampler import pipeline

    overrides = {"region": region, "n": n, "seed": seed, "selection.objective": objective, "strict": strict or None}
    settings = diversity_override(pipeline.selection_config(atlas, config, overrides), diversity)
    outputs = pipeline.Outputs.beside(out, atlas=atlas, report=report)
    manifest = pipeline.select(settings, outputs, runtime_of(None, workers, quiet), overwrite=overwrite)
    say_manifest(manifest, outputs)


def plan(
    region: Region = None,
    n: Number = None,
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
    atlas: Annotated[Path | None, typer.Option(help="Atlas that is there already.")] = None,
    mbit_s: Annotated[
        float, typer.Option(metavar="<float>", min=0.1, help="Speed of the connection in Mbit/s.")
    ] = 500.0,
    workers: Workers = None,
) -> None:
    """Say what a build will take.

    Tiles, requests, bytes, hours and disk, before they are spent.
    """
    settings = resolve(
        config,
        source_overrides(landcover, legend, climate, temperature, precipitation, stac_url, collection)
        | reading_overrides(grid_km, approximate, reproject)
        | {"region": region, "n": n},
    )
    from csmoe_sampler import pipeline

    place = atlas or pipeline.Outputs.beside(Path("out.parquet")).atlas
    say_plan(pipeline.plan(settings, place, runtime_of(None, workers, quiet=False), mbit_s))
