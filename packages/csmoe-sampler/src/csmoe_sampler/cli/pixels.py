"""Commands from a manifest to its pixels: pair, fetch, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from csmoe_sampler.cli.options import (
    Config,
    DryRun,
    End,
    FormatName,
    Items,
    MaxCloud,
    Overwrite,
    ProviderName,
    Quiet,
    ScenesUrl,
    Scheduler,
    Seasons,
    Sentinel1,
    Start,
    Workers,
)
from csmoe_sampler.cli.settings import runtime_of, scene_overrides, terminal_progress
from csmoe_sampler.cli.speech import say_chips, say_manifest, say_requests


def pair(
    manifest: Annotated[Path, typer.Argument(help="A manifest; it gets the scenes.")],
    config: Config = None,
    provider: ProviderName = None,
    scenes: ScenesUrl = None,
    items: Items = None,
    seasons: Seasons = None,
    start: Start = None,
    end: End = None,
    max_cloud: MaxCloud = None,
    sentinel1: Sentinel1 = None,
    on_missing: Annotated[
        str | None, typer.Option(help="Tiles without scenes: redraw, drop or keep.", show_default="redraw")
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(metavar="<path>", help="CSV of scenes not to choose: item, and tile_id where it is for one tile."),
    ] = None,
    atlas: Annotated[
        Path | None, typer.Option(help="The atlas it was drawn from.", show_default="beside the manifest")
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the report page too.")] = True,
    dry_run: DryRun = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Choose Sentinel scenes for the tiles.

    The clearest Sentinel-2 scene that covers the footprint, and the Sentinel-1 scene nearest in time. A tile without
    scenes gives way to the next of its stratum. Searches are grouped by area; their answers are kept beside the
    manifest, so that the same command continues where it was.
    """
    from csmoe_sampler import pipeline

    chosen = scene_overrides(
        provider=provider,
        url=scenes,
        items=items,
        seasons=seasons,
        start=start,
        end=end,
        max_cloud=max_cloud,
        sentinel1=sentinel1,
    )
    settings = pipeline.scene_config(manifest, config, chosen | {"on_missing": on_missing, "exclude": exclude})
    outputs = pipeline.Outputs.beside(manifest, atlas=atlas, report=report)
    runtime = runtime_of(None, None, quiet)
    if dry_run:
        say_requests(pipeline.plan_pairing(manifest, settings, outputs))
        return
    say_manifest(pipeline.pair(manifest, settings, outputs, runtime, overwrite=overwrite), outputs)


def fetch(
    manifest: Annotated[Path, typer.Argument(help="A manifest with scenes; it gets the column chip.")],
    out: Annotated[
        Path | None, typer.Option(help="The chip store to write (Zarr).", show_default="chips.zarr beside the manifest")
    ] = None,
    config: Config = None,
    size_px: Annotated[
        str | None, typer.Option(help="Edge of a chip in pixels, or footprint.", show_default="256")
    ] = None,
    pixel_m: Annotated[float | None, typer.Option(help="Edge of a pixel in metres.", show_default="10")] = None,
    scenes: ScenesUrl = None,
    guards: Annotated[
        str | None, typer.Option(help="Chips that look wrong: warn or refuse.", show_default="warn")
    ] = None,
    alignment: Annotated[
        bool, typer.Option("--alignment", help="Measure the shift between Sentinel-1 and Sentinel-2.")
    ] = False,
    reuse: Annotated[
        Path | None, typer.Option(help="An earlier store; its chips are taken where tile and scenes are the same.")
    ] = None,
    connections: Annotated[int, typer.Option(metavar="<int>", min=1, help="Reads under way at once.")] = 16,
    scheduler: Scheduler = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Bring the pixels of a paired manifest into a chip store.

    Windows straight from the COGs on one UTM grid a tile. Killed at any moment, the same command continues. A tile
    that fails for good is listed, never filled in.
    """
    from csmoe_sampler import pipeline

    store = out or manifest.with_name("chips.zarr")
    size = int(size_px) if size_px and size_px.isdigit() else size_px
    overrides = {"size_px": size, "pixel_m": pixel_m, "guards": guards, "alignment": alignment or None}
    result = pipeline.fetch(
        manifest,
        store,
        pipeline.chip_config(manifest, config, overrides),
        pipeline.scene_config(manifest, config, {"url": scenes}),
        runtime_of(scheduler, workers, quiet),
        connections=connections,
        reuse=reuse,
    )
    say_chips(result, store)


def export(
    manifest: Annotated[Path, typer.Argument(help="A manifest.")],
    to: Annotated[FormatName, typer.Option(metavar="<format>", help="One of those above.")],
    out: Annotated[Path, typer.Option(help="File or folder to write; nothing is replaced.")],
    chips: Annotated[
        Path | None,
        typer.Option(
            help="The chip store of the manifest.", show_default="chips.zarr beside the manifest, where one is needed"
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a manifest, or its chips, in the format of others.

    Tables: csv, geojson, stac-geoparquet, majortom, olmoearth. Chips: webdataset, geotiff, torchgeo, terratorch.
    Either: rslearn, croissant, datasheet.
    """
    from csmoe_sampler.exports import FORMATS
    from csmoe_sampler.exports import export as write

    if chips is None and FORMATS[to].chips == "must":
        chips = manifest.with_name("chips.zarr")
    typer.echo(f"{write(manifest, to, out, chips=chips, progress=terminal_progress(quiet))} in {out}")
