"""The story: region -> tiles -> atlas -> population -> manifest -> report. Each function is one command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from csmoe_sampler.atlas import Atlas, describe_tiles, open_atlas, read_atlas
from csmoe_sampler.config import BuildConfig, load_config
from csmoe_sampler.engine import open_client
from csmoe_sampler.errors import AtlasError, ConfigError, SelectionError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.manifest import Manifest, read_manifest, write_manifest
from csmoe_sampler.population import Population, population_of
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.regions import tiles_of
from csmoe_sampler.report import summarise, write_report
from csmoe_sampler.sampling import draw
from csmoe_sampler.sources import legends_of, open_descriptors
from csmoe_sampler.storage import write_bytes, write_json
from csmoe_sampler.types import Int64

if TYPE_CHECKING:
    from csmoe_sampler.audit import Audit
    from csmoe_sampler.plan import Plan

DESCRIBED = "_describe.toml"
"""In an atlas: the configuration that described it."""


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
    _check_size(config, _tiles(config.region, TileGrid(config.grid.spacing_km, config.grid.lat_max_deg)))
    describe(config, outputs.atlas, runtime)
    return select(config, outputs, runtime, overwrite=overwrite)


def describe(config: BuildConfig, out: Path, runtime: Runtime) -> Atlas:
    """The atlas of the region's tiles, in `out`; only what is missing there is computed."""
    grid = TileGrid(config.grid.spacing_km, config.grid.lat_max_deg)
    tiles = _tiles(config.region, grid)
    descriptors = open_descriptors(config, runtime.progress)
    with open_client(runtime.scheduler, runtime.workers) as client:
        atlas = describe_tiles(tiles, grid, descriptors, out, client=client, progress=runtime.progress)
    _remember(config, out)
    return atlas


def select(config: BuildConfig, outputs: Outputs, runtime: Runtime, *, overwrite: bool = False) -> Manifest:
    """The manifest drawn from an atlas; writes it, its configuration and the report."""
    _check_outputs(config, outputs, overwrite=overwrite)
    population = _population(config, outputs.atlas)
    atlas = open_atlas(outputs.atlas)
    manifest = draw(
        population,
        config,
        legends_of(atlas.provenance),
        sources=atlas.provenance,
        workers=runtime.workers,
        progress=runtime.progress,
    )
    write_manifest(manifest.table, manifest.metadata, outputs.manifest)
    write_bytes(outputs.config, config.to_toml().encode())
    if outputs.report:
        write_report(summarise(manifest, population, runtime.progress), outputs.report)
    return manifest


def report(manifest: Path, atlas: Path, out: Path, runtime: Runtime) -> None:
    """The report page of a manifest, beside the atlas that it was drawn from."""
    loaded = read_manifest(manifest)
    config = BuildConfig.model_validate(loaded.metadata["config"])
    described = load_config(atlas / DESCRIBED, {})
    if described.portable()["region"] == config.region:  # a manifest keeps the name of a vector file, not its folder
        config = config.model_copy(update={"region": described.region})
    write_report(summarise(loaded, _population(config, atlas), runtime.progress), out)


def audit(points: Path, atlas: Path, path: Path | None, out: Path | None) -> Audit:
    """What places cover of an atlas's candidates; writes the figures to `out` as JSON, if given.

    Args:
        points: A list of places, see `audit.read_places`.
        atlas: The atlas.
        path: Configuration of candidates, strata and allocation.
        out: A JSON file.
    """
    from csmoe_sampler.audit import audit as audit_places
    from csmoe_sampler.audit import read_places

    config = selection_config(atlas, path, {})
    opened = open_atlas(atlas)
    places = read_places(points, opened.grid)
    found = audit_places(places, read_atlas(atlas), config, legends_of(opened.provenance))
    if out:
        write_json(out, found.to_json())
    return found


def plan(config: BuildConfig, atlas: Path, runtime: Runtime, mbit_s: float = 500.0) -> Plan:
    """What `build` with that atlas will take; reads headers only."""
    from csmoe_sampler.plan import plan_build

    tiles = _tiles(config.region, TileGrid(config.grid.spacing_km, config.grid.lat_max_deg))
    return plan_build(config, tiles, atlas, runtime.progress, mbit_s=mbit_s, workers=runtime.workers)


def selection_config(atlas: Path, path: Path | None, overrides: Mapping[str, Any]) -> BuildConfig:
    """The configuration of a selection from an atlas: what was described is settled, the rest may be chosen.

    Raises:
        ConfigError: `path` or `overrides` ask for another grid, land cover or climate than the atlas has.
    """
    described = load_config(atlas / DESCRIBED, {}) if (atlas / DESCRIBED).exists() else None
    if described is None:
        open_atlas(atlas)  # says so where it is no atlas at all
        raise AtlasError(f"atlas {atlas} is not finished: run describe again, it continues")
    config = load_config(path, overrides, base=described)
    for name in ("grid", "landcover", "climate"):
        if getattr(config, name) != getattr(described, name):
            raise ConfigError(f"atlas {atlas} was described with another [{name}]: leave it out, or describe anew")
    return config


def quickstart(folder: Path, n: int, runtime: Runtime) -> Outputs:
    """A build on the synthetic Earth, all in `folder`."""
    from csmoe_sampler.synthetic import write_earth

    earth = write_earth(folder / "earth", "small", 0, runtime.progress)
    outputs = Outputs.beside(folder / "sample.parquet")
    overrides = {
        "n": n,
        "landcover.stac.url": str(earth.catalog),
        "climate.source": str(earth.climate),
        "descriptors": [{"name": "elevation", "source": [str(earth.elevation)], "scale": 1000.0}],
        "selection.weights": {"landcover": 1.0, "climate": 0.5, "elevation": 0.25, "position": 0.5},
    }
    build(load_config(None, overrides), outputs, runtime)
    return outputs


def _population(config: BuildConfig, path: Path) -> Population:
    atlas = open_atlas(path)
    tiles = _tiles(config.region, atlas.grid)
    _check_size(config, tiles)
    return population_of(read_atlas(path, tiles=tiles), config, legends_of(atlas.provenance))


def _tiles(region: str, grid: TileGrid) -> Int64:
    """The tiles of a region, or of several joined by ` + `."""
    first, *others = (tiles_of(part, grid) for part in region.split(" + "))
    for other in others:
        first = np.union1d(first, other)
    return first


def _check_size(config: BuildConfig, tiles: Int64) -> None:
    if config.n > tiles.size:
        raise SelectionError(
            f"region '{config.region}' has {tiles.size:,} tiles of {config.grid.spacing_km:g} km, {config.n:,} were "
            "asked for: lower --n, widen the region, or use a finer --grid-km"
        )


def _remember(config: BuildConfig, atlas: Path) -> None:
    """Keeps beside the atlas's parts what was described; regions of several runs are joined."""
    path = atlas / DESCRIBED
    if path.exists():
        regions = load_config(path, {}).region.split(" + ")
        if config.region not in regions:
            config = config.model_copy(update={"region": " + ".join([*regions, config.region])})
    write_bytes(path, config.to_toml().encode())


def _check_outputs(config: BuildConfig, outputs: Outputs, *, overwrite: bool) -> None:
    """A manifest made with other settings is not replaced unasked."""
    if overwrite or not outputs.manifest.exists():
        return
    found = read_manifest(outputs.manifest).metadata.get("config_digest")
    if found != config.digest():
        raise ConfigError(
            f"{outputs.manifest} exists and was made with other settings: choose another --out, or add --overwrite"
        )
