"""The story: region -> tiles -> atlas -> population -> manifest -> report. Each function is one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from csmoe_sampler.atlas import Atlas, describe_tiles, open_atlas, read_atlas
from csmoe_sampler.config import BuildConfig, load_config
from csmoe_sampler.engine import open_client
from csmoe_sampler.errors import ConfigError, SelectionError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.manifest import Manifest, read_manifest, write_manifest
from csmoe_sampler.population import population_of
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.regions import tiles_of
from csmoe_sampler.report import summarise, write_report
from csmoe_sampler.sampling import draw
from csmoe_sampler.sources import legends_of, open_descriptors
from csmoe_sampler.storage import write_bytes
from csmoe_sampler.types import Int64


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where a build writes."""

    manifest: Path
    atlas: Path
    """Folder of Parquet parts, kept: another selection starts from it."""
    report: Path | None
    config: Path
    """The resolved configuration, as TOML."""

    @classmethod
    def beside(cls, manifest: Path, *, atlas: Path | None = None, report: bool = True) -> Outputs:
        """`out.parquet` brings `out.atlas.parquet/`, `out.report.html` and `out.toml` with it."""
        stem = manifest.with_suffix("")
        return cls(
            manifest=manifest,
            atlas=atlas or stem.with_name(f"{stem.name}.atlas.parquet"),
            report=stem.with_name(f"{stem.name}.report.html") if report else None,
            config=stem.with_name(f"{stem.name}.toml"),
        )


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What may differ from run to run without changing a result."""

    scheduler: str | None = None
    """Address of a Dask scheduler; None: threads of this process."""
    workers: int | None = None
    """Threads of this process; None: all cores."""
    progress: Progress = field(default_factory=NoProgress)


def build(config: BuildConfig, outputs: Outputs, runtime: Runtime, *, overwrite: bool = False) -> Manifest:
    """Describes the region and draws the sample; writes all of `outputs`.

    Raises:
        SamplerError: Something asked for cannot be had; what was written before is kept, and used by the next run.
    """
    _check_outputs(config, outputs, overwrite=overwrite)
    describe(config, outputs.atlas, runtime)
    return select(config, outputs, runtime, overwrite=overwrite)


def describe(config: BuildConfig, out: Path, runtime: Runtime) -> Atlas:
    """The atlas of the region's tiles, in `out`; only what is missing there is computed."""
    grid = TileGrid(config.grid.spacing_km, config.grid.lat_max_deg)
    tiles = _tiles(config, grid)
    descriptors = open_descriptors(config, grid, tiles, out, runtime.progress)
    with open_client(runtime.scheduler, runtime.workers) as client:
        return describe_tiles(tiles, grid, descriptors, out, client=client, progress=runtime.progress)


def select(config: BuildConfig, outputs: Outputs, runtime: Runtime, *, overwrite: bool = False) -> Manifest:
    """The manifest drawn from an atlas; writes it, its configuration and the report."""
    _check_outputs(config, outputs, overwrite=overwrite)
    atlas = open_atlas(outputs.atlas)
    tiles = _tiles(config, atlas.grid)
    legends = legends_of(atlas)
    population = population_of(read_atlas(outputs.atlas, tiles=tiles), config, legends)
    manifest = draw(
        population,
        config,
        legends,
        sources=atlas.provenance,
        workers=runtime.workers,
        progress=runtime.progress,
    )
    write_manifest(manifest.table, manifest.metadata, outputs.manifest)
    write_bytes(outputs.config, config.to_toml().encode())
    if outputs.report:
        write_report(summarise(manifest, population, config, legends, runtime.progress), outputs.report)
    return manifest


def _tiles(config: BuildConfig, grid: TileGrid) -> Int64:
    tiles = tiles_of(config.region, grid)
    if config.n > tiles.size:
        raise SelectionError(
            f"region '{config.region}' has {tiles.size:,} tiles of {config.grid.spacing_km:g} km, {config.n:,} were "
            "asked for: lower --n, widen the region, or use a finer --grid-km"
        )
    return tiles


def _check_outputs(config: BuildConfig, outputs: Outputs, *, overwrite: bool) -> None:
    """A manifest made with other settings is not replaced unasked."""
    if overwrite or not outputs.manifest.exists():
        return
    found = read_manifest(outputs.manifest).metadata.get("config_digest")
    if found != config.digest():
        raise ConfigError(
            f"{outputs.manifest} exists and was made with other settings: choose another --out, or add --overwrite"
        )
