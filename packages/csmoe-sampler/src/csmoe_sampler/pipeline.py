"""The story: region -> tiles -> atlas -> population -> manifest -> report. Each function is one command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import tomli_w

from csmoe_sampler.atlas import Atlas, describe_tiles, open_atlas, read_atlas
from csmoe_sampler.config import BuildConfig, ChipConfig, SceneConfig, load_config, load_section
from csmoe_sampler.engine import open_client
from csmoe_sampler.errors import AtlasError, ConfigError, SelectionError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.manifest import CHIP, Manifest, read_manifest, write_manifest
from csmoe_sampler.population import Population, population_of
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.regions import tiles_of
from csmoe_sampler.report import Section, summarise, write_report
from csmoe_sampler.sampling import draw
from csmoe_sampler.sources import journal_of, legends_of, open_descriptors
from csmoe_sampler.storage import write_bytes, write_json
from csmoe_sampler.types import Int64

if TYPE_CHECKING:
    from csmoe_sampler.audit import Audit
    from csmoe_sampler.chips import FetchResult
    from csmoe_sampler.plan import Plan
    from csmoe_sampler.scenes import RequestPlan

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
    journal: Path
    """What catalogues have answered, kept: a pairing continues from it, and a changing catalogue changes nothing."""

    @classmethod
    def beside(cls, manifest: Path, *, atlas: Path | None = None, report: bool = True) -> Outputs:
        """`out.parquet` brings `out.atlas.parquet/`, `out.report.html` and `out.toml` with it."""
        stem = manifest.with_suffix("")
        return cls(
            manifest=manifest,
            atlas=atlas or stem.with_name(f"{stem.name}.atlas.parquet"),
            report=stem.with_name(f"{stem.name}.report.html") if report else None,
            config=stem.with_name(f"{stem.name}.toml"),
            journal=stem.with_name(f"{stem.name}.scenes"),
        )


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What may differ from run to run without changing a result."""

    scheduler: str | None = None
    """Address of a Dask scheduler; None: threads of this process."""
    workers: int | None = None
    """Threads of this process; None: all cores."""
    progress: Progress = field(default_factory=NoProgress)


def build(
    config: BuildConfig,
    outputs: Outputs,
    runtime: Runtime,
    *,
    scenes: SceneConfig | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Describes the region, draws the sample and, with `scenes`, pairs it; writes all of `outputs`.

    Raises:
        SamplerError: Something asked for cannot be had; what was written before is kept, and used by the next run.
    """
    _check_outputs(config, scenes, outputs, overwrite=overwrite)
    _check_size(config, tiles_of(config.region, TileGrid(config.grid.spacing_km, config.grid.lat_max_deg)))
    describe(config, outputs.atlas, runtime)
    return select(config, outputs, runtime, scenes=scenes, overwrite=overwrite)


def describe(config: BuildConfig, out: Path, runtime: Runtime) -> Atlas:
    """The atlas of the region's tiles, in `out`; only what is missing there is computed."""
    grid = TileGrid(config.grid.spacing_km, config.grid.lat_max_deg)
    tiles = tiles_of(config.region, grid)
    descriptors = open_descriptors(config, runtime.progress, journal=journal_of(out))
    with open_client(runtime.scheduler, runtime.workers) as client:
        atlas = describe_tiles(tiles, grid, descriptors, out, client=client, progress=runtime.progress)
    _remember(config, out)
    return atlas


def select(
    config: BuildConfig,
    outputs: Outputs,
    runtime: Runtime,
    *,
    scenes: SceneConfig | None = None,
    overwrite: bool = False,
) -> Manifest:
    """The manifest drawn from an atlas, paired if `scenes`; writes it, its configuration and the report."""
    _check_outputs(config, scenes, outputs, overwrite=overwrite)
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
    if scenes:
        manifest = _pair(manifest, population, config, scenes, outputs, runtime)
    write_manifest(manifest.table, manifest.metadata, outputs.manifest)
    write_bytes(outputs.config, config_toml(config, scenes).encode())
    if outputs.report:
        write_report(summarise(manifest, population, runtime.progress), outputs.report)
    return manifest


def pair(path: Path, scenes: SceneConfig, outputs: Outputs, runtime: Runtime, *, overwrite: bool = False) -> Manifest:
    """A manifest with scenes, in its own place; a tile without any gives way to the next of its stratum.

    Args:
        path: The manifest.
        scenes: Which scenes may be chosen, and what happens to tiles without.
        outputs: Where its atlas and its journal are; the manifest, the configuration and the report are written.
        runtime: How to run.
        overwrite: Replace scenes that were chosen with other settings.

    Raises:
        SamplerError: Something asked for cannot be had; the manifest is as it was.
    """
    manifest = read_manifest(path)
    before = manifest.metadata.get("scenes", {}).get("config_digest")
    if before == scenes.digest() and not overwrite:
        return manifest
    if before and not overwrite:
        raise ConfigError(f"{path} has scenes that were chosen with other settings: add --overwrite to choose anew")
    population = config = None
    if scenes.on_missing == "redraw" or outputs.report:
        config = _config_of(manifest, outputs.atlas)
        population = _population(config, outputs.atlas)
    manifest = _pair(manifest, population, config, scenes, outputs, runtime)
    write_manifest(manifest.table, manifest.metadata, outputs.manifest)
    build_config = load_config(outputs.config, {}) if outputs.config.exists() else config
    write_bytes(outputs.config, config_toml(build_config, scenes).encode())
    if outputs.report and population:
        write_report(summarise(manifest, population, runtime.progress), outputs.report)
    return manifest


def fetch(
    path: Path,
    out: Path,
    chips: ChipConfig,
    scenes: SceneConfig,
    runtime: Runtime,
    *,
    connections: int = 16,
    reuse: Path | None = None,
) -> FetchResult:
    """The pixels of a paired manifest in a chip store; the manifest gets the column `chip`.

    Args:
        path: The manifest.
        out: The store.
        chips: What to bring.
        scenes: Where the scenes come from: provider, sign endpoint, folder of a local catalogue.
        runtime: How to run.
        connections: Reads under way at once, in every process.
        reuse: An earlier store of the same recipe, whose chips are taken where tile and scenes are the same.

    Raises:
        SamplerError: The manifest has no scenes, or the store is another's or cannot be written; chips that were
            brought stay.
    """
    from csmoe_sampler.chips import fetch_chips

    manifest = read_manifest(path)
    with open_client(runtime.scheduler, runtime.workers) as client:
        result = fetch_chips(
            manifest,
            out,
            chips,
            scenes,
            client=client,
            connections=connections,
            reuse=reuse,
            progress=runtime.progress,
        )
    column = pa.array(result.chip, pa.int64(), mask=result.chip < 0)
    fetched = manifest.with_columns({CHIP: column})
    summary = {"config": chips.model_dump(mode="json"), "config_digest": chips.digest(), "failed": len(result.failed)}
    write_manifest(fetched.table, {**fetched.metadata, "chips": summary}, path)
    return result


def report(
    manifest: Path,
    atlas: Path,
    out: Path,
    runtime: Runtime,
    *,
    chips: Path | None = None,
    further: Sequence[Section] = (),
) -> None:
    """The report page of a manifest, beside the atlas that it was drawn from, with pictures of `chips` if given."""
    loaded = read_manifest(manifest)
    population = _population(_config_of(loaded, atlas), atlas)
    write_report(summarise(loaded, population, runtime.progress, chips), out, further)


def scene_config(manifest: Path | None, path: Path | None, overrides: Mapping[str, Any]) -> SceneConfig:
    """The `[scenes]` of a configuration file, else of the one beside the manifest, with overrides on top."""
    found: SceneConfig = load_section(path or _file_beside(manifest), "scenes", overrides)
    return found


def chip_config(manifest: Path, path: Path | None, overrides: Mapping[str, Any]) -> ChipConfig:
    """The `[chips]` of a configuration file, else of the one beside the manifest, with overrides on top."""
    found: ChipConfig = load_section(path or _file_beside(manifest), "chips", overrides)
    return found


def _file_beside(manifest: Path | None) -> Path | None:
    path = Outputs.beside(manifest).config if manifest else None
    return path if path and path.exists() else None


def plan_pairing(manifest: Path, scenes: SceneConfig, outputs: Outputs) -> RequestPlan:
    """What pairing a manifest will ask catalogues for, second draws apart."""
    from csmoe_sampler.redraw import tiles_of_rows
    from csmoe_sampler.scenes import open_pairer

    pairer = open_pairer(scenes, outputs.journal)
    return pairer.plan(tiles_of_rows(read_manifest(manifest).table))


def config_toml(config: BuildConfig | None, scenes: SceneConfig | None) -> str:
    """A configuration file that says the same."""
    values = config.model_dump(mode="json", exclude_none=True) if config else {}
    if scenes:
        values["scenes"] = scenes.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(values)


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

    tiles = tiles_of(config.region, TileGrid(config.grid.spacing_km, config.grid.lat_max_deg))
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
    for name in ("grid", "landcover", "climate", "spectral"):
        if getattr(config, name) != getattr(described, name):
            raise ConfigError(f"atlas {atlas} was described with another [{name}]: leave it out, or describe anew")
    return config


def _pair(
    manifest: Manifest,
    population: Population | None,
    config: BuildConfig | None,
    scenes: SceneConfig,
    outputs: Outputs,
    runtime: Runtime,
) -> Manifest:
    """The manifest with scenes, and in its metadata what decides them."""
    from csmoe_sampler.redraw import Reserve, pair_rows
    from csmoe_sampler.scenes import open_pairer

    reserve = None
    if population and config:
        legends = legends_of(open_atlas(outputs.atlas).provenance)
        reserve = Reserve(population, config, legends)
    pairer = open_pairer(scenes, outputs.journal, progress=runtime.progress)
    paired = pair_rows(manifest, pairer, on_missing=scenes.on_missing, reserve=reserve)
    decided = {"config": scenes.portable(), "config_digest": scenes.digest(), "source": pairer.provenance()}
    return Manifest(table=paired.table, metadata={**paired.metadata, "scenes": paired.metadata["scenes"] | decided})


def _config_of(manifest: Manifest, atlas: Path) -> BuildConfig:
    """The configuration that a manifest was drawn with; raises AtlasError where the atlas is not there."""
    config = BuildConfig.model_validate(manifest.metadata["config"])
    if not (atlas / DESCRIBED).exists():
        raise AtlasError(f"atlas {atlas} is not there: name the one that the manifest was drawn from with --atlas")
    described = load_config(atlas / DESCRIBED, {})
    if described.portable()["region"] == config.region:  # a manifest keeps the name of a vector file, not its folder
        config = config.model_copy(update={"region": described.region})
    return config


def _population(config: BuildConfig, path: Path) -> Population:
    atlas = open_atlas(path)
    tiles = tiles_of(config.region, atlas.grid)
    _check_size(config, tiles)
    return population_of(read_atlas(path, tiles=tiles), config, legends_of(atlas.provenance))


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


def _check_outputs(config: BuildConfig, scenes: SceneConfig | None, outputs: Outputs, *, overwrite: bool) -> None:
    """A manifest made with other settings, or with scenes or chips, is not replaced unasked."""
    if overwrite or not outputs.manifest.exists():
        return
    metadata = read_manifest(outputs.manifest).metadata
    if metadata.get("config_digest") != config.digest():
        raise ConfigError(
            f"{outputs.manifest} exists and was made with other settings: choose another --out, or add --overwrite"
        )
    paired = metadata.get("scenes", {}).get("config_digest")
    if "chips" in metadata or paired not in (None, scenes.digest() if scenes else None):
        raise ConfigError(
            f"{outputs.manifest} has {'chips' if 'chips' in metadata else 'scenes'} that would be lost: choose another "
            "--out, or add --overwrite"
        )
