"""Manifest -> chip store: shard by shard on the workers, continued where it was, finished when all are there."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from csmoe_sampler.chips.grid import chip_size
from csmoe_sampler.chips.journal import Failure, Journal, journal_of
from csmoe_sampler.chips.layout import Layout
from csmoe_sampler.chips.reading import Recipe
from csmoe_sampler.chips.reuse import rows_in
from csmoe_sampler.chips.shard_task import Fetching, Shard, fetch_shard
from csmoe_sampler.chips.store import (
    FORMAT,
    VERSION,
    create_store,
    finish_store,
    read_provenance,
)
from csmoe_sampler.chips.tally import Tally
from csmoe_sampler.chips.tiles import TileTable
from csmoe_sampler.chips.windows import Access
from csmoe_sampler.config import ChipConfig, SceneConfig
from csmoe_sampler.engine import run_tasks
from csmoe_sampler.errors import ChipError, ConfigError, ManifestError
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.rasters.patience import BACKOFF_S
from csmoe_sampler.scenes import resolve_href, signer_of
from csmoe_sampler.scenes.provider import Product, load_provider
from csmoe_sampler.storage import Lock, write_bytes
from csmoe_sampler.types import Int64

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, kw_only=True, eq=False)
class FetchResult:
    """What a fetch has brought."""

    chip: Int64
    """Row of each tile in the store, -1 where it has no pixels."""
    failed: tuple[Failure, ...]
    warnings: tuple[str, ...]
    """What looks wrong in chips that are stored nevertheless: one sentence a band and problem."""


def fetch_chips(
    manifest: Manifest,
    out: Path,
    config: ChipConfig,
    scenes: SceneConfig,
    *,
    client: Client,
    connections: int = 16,
    reuse: Path | None = None,
    progress: Progress | None = None,
    pauses: Sequence[float] = BACKOFF_S,
) -> FetchResult:
    """Brings the pixels of a paired manifest into the store `out`; row i of the store is row i of the manifest.

    What is there already is kept, and a run that was killed is continued by the same call; the bytes are the same
    whatever the history and the number of workers. A tile that fails is recorded in the store, its journal and
    `<out>.failed.csv`, and holds no pixels. Where that may pass, since a server was out of reach, the same call tries
    again. The workers write, so a cluster needs a file system that all its machines share.

    Args:
        manifest: With the columns that `pair` adds.
        out: The store, `*.zarr` by custom; its journal is the folder beside it that ends in `.journal`.
        config: What is brought of every tile.
        scenes: As in `pair`: provider, seasons, tokens, whether there is Sentinel-1.
        client: Of Dask.
        connections: Files that are read at the same time in each process.
        reuse: An earlier store of the same recipe, finished: chips of rows with the same tile and scenes are copied
            from it, which gives the same bytes.
        progress: Told the tiles as their shards are done.
        pauses: Seconds before each further attempt at a remote file.

    Raises:
        ManifestError: It holds no such scenes.
        ConfigError: The product cannot be made into chips.
        ChipError: `out` was begun from another manifest or with another configuration, or `reuse` was.
        CatalogError: Tokens cannot be had.
        RasterUnreachableError: Nothing of a whole shard could be reached.
        StorageError: The disk is full, or another process writes to `out`.
    """
    progress = progress or NoProgress()
    products = _products(config, scenes)
    table = TileTable(manifest, tuple(products), scenes.seasons)
    layout = _layout(table, config, products)
    journal = Journal(journal_of(out))
    described = {sensor: product.model_dump(mode="json") for sensor, product in products.items()}
    identity = {"manifest": table.digest(), "configuration": config.digest(), "provider": described}
    with Lock(journal.folder):
        journal.begin(identity, out)
        done = journal.done(layout.num_shards)
        if len(done) < layout.num_shards or not _is_finished(out):
            recipe = Recipe(
                config=config,
                products=products,
                access=Access(sign=signer_of(scenes), resampling=config.resampling, pauses=tuple(pauses)),
                resolve=partial(resolve_href, config=scenes),
                mask=layout.mask,
                connections=connections,
            )
            create_store(out, layout)
            fetching = Fetching(
                out=out.absolute(),
                journal=journal.folder.absolute(),
                layout=layout,
                recipe=recipe,
                reuse=reuse and reuse.absolute(),
            )
            earlier = rows_in(reuse, layout, identity, table.columns()) if reuse else [None] * layout.num_rows
            _run(fetching, table, earlier, done, client, progress)
            tally = _add_up(journal, layout)
            _finish(out, table, layout, tally, _provenance(manifest, config, layout, products, identity))
        else:
            tally = _add_up(journal, layout)
    return FetchResult(chip=tally.chip, failed=tuple(tally.failed), warnings=tally.warnings)


def failures_of(out: Path) -> Path:
    """The list beside a store of the tiles that failed; `scenes.exclude` takes it."""
    return out.with_name(f"{out.name.removesuffix('.zarr')}.failed.csv")


def _run(
    fetching: Fetching,
    table: TileTable,
    earlier: Sequence[int | None],
    done: set[int],
    client: Client,
    progress: Progress,
) -> None:
    layout = fetching.layout
    lacking = [shard for shard in range(layout.num_shards) if shard not in done]
    if done:
        progress.note(f"{fetching.out} has {len(done):,} of {layout.num_shards:,} shards already")
    if fetching.reuse:
        known = sum(row is not None for row in earlier)
        progress.note(f"{known:,} of {layout.num_rows:,} tiles are taken from {fetching.reuse}")
    shards = (
        Shard(number=number, tiles=tuple(table.tiles(rows)), earlier=tuple(earlier[rows.start : rows.stop]))
        for number in lacking
        for rows in [layout.rows_of(number)]
    )
    progress.start("fetch", sum(len(layout.rows_of(shard)) for shard in lacking), "tiles")
    for _, num_tiles in run_tasks(partial(fetch_shard, fetching), shards, client=client):
        progress.advance(num_tiles)
    progress.finish()


def _products(config: ChipConfig, scenes: SceneConfig) -> dict[str, Product]:
    """Sensor -> product."""
    provider = load_provider(scenes.provider)
    products = {"s2": provider.product("sentinel-2-l2a")}
    if scenes.sentinel1 != "none" and config.s1_bands:
        products["s1"] = provider.product(f"sentinel-1-{scenes.sentinel1}")
        if products["s1"].unit == "amplitude":
            raise ConfigError(
                f"fetch: {products['s1'].collection} of provider '{provider.name}' holds uncalibrated amplitudes in "
                "radar geometry; what is missing is calibration and terrain correction (RTC): choose "
                'scenes.sentinel1 = "rtc", or "none"'
            )
    return products


def _layout(table: TileTable, config: ChipConfig, products: dict[str, Product]) -> Layout:
    tiles = table.tiles(range(1)) if len(table) else []
    if not tiles:
        raise ManifestError("manifest: has no rows: there is nothing to fetch")
    return Layout(
        num_rows=len(table),
        size_px=chip_size(tiles[0].footprint, config.size_px, config.pixel_m),
        shard_chips=config.shard_chips,
        s2_bands=config.s2_bands,
        s1_bands=config.s1_bands if "s1" in products else (),
        seasons=table.seasons,
        mask=products["s2"].mask is not None,
        alignment=config.alignment and "s1" in products,
    )


def _add_up(journal: Journal, layout: Layout) -> Tally:
    tally = Tally(layout)
    for shard in range(layout.num_shards):
        tally.add(journal.outcomes(shard))
    return tally


def _finish(out: Path, table: TileTable, layout: Layout, tally: Tally, provenance: dict[str, Any]) -> None:
    columns = table.columns()
    used = {item for name in columns if name.endswith("_item") for item in np.unique(columns[name][tally.chip >= 0])}
    write_bytes(failures_of(out), _failures(tally.failed, used).encode())
    failed = [
        {"tile_id": one.tile_id, "sensor": one.sensor, "item": one.item, "reason": one.reason} for one in tally.failed
    ]
    about = provenance | {"failed": failed, "warnings": list(tally.warnings)}
    finish_store(out, layout, {**columns, **tally.columns()}, about)


def _failures(failed: Sequence[Failure], used: Collection[str]) -> str:
    """A CSV of the tiles that failed, then of scenes that no tile could be read from: those are out for all tiles."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["tile_id", "item", "sensor", "reason"])
    lines.writerows([one.tile_id, one.item, one.sensor, one.reason] for one in failed)
    gone = {one.item: one for one in failed if one.unread and not one.passing and one.item not in used}
    lines.writerows(["", one.item, one.sensor, one.reason] for one in gone.values())
    return text.getvalue()


def _provenance(
    manifest: Manifest, config: ChipConfig, layout: Layout, products: dict[str, Product], identity: dict[str, Any]
) -> dict[str, Any]:
    units = {"s2": "reflectance x 10,000", "s1": "dB"}
    bands = {"s2": layout.s2_bands, "s1": layout.s1_bands}
    return {
        "format": FORMAT,
        "version": VERSION,
        "package_version": version("csmoe-sampler"),
        "manifest": {
            "config_digest": manifest.metadata.get("config_digest"),
            "scenes_digest": manifest.metadata.get("scenes", {}).get("config_digest"),
            "rows_digest": identity["manifest"],
            "num_rows": layout.num_rows,
        },
        "config": config.model_dump(mode="json"),
        "config_digest": config.digest(),
        "pixel_m": config.pixel_m,
        "size_px": layout.size_px,
        "sensors": {
            sensor: {"bands": list(bands[sensor]), "unit": units[sensor], "collection": product.collection}
            for sensor, product in products.items()
        },
    }


def _is_finished(out: Path) -> bool:
    try:
        read_provenance(out)
    except ChipError:
        return False
    return True
