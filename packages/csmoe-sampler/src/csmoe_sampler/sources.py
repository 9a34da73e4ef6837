"""Where descriptors come from: the configuration's rasters, catalogues and legends, opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from csmoe_sampler.climate import cache_folder, climate_map
from csmoe_sampler.config import BuildConfig, DescriptorConfig, LandcoverConfig, SpectralConfig
from csmoe_sampler.descriptors import ClassShares, Moments
from csmoe_sampler.extensions import load
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.legend import Legend, load_legend
from csmoe_sampler.progress import Progress
from csmoe_sampler.rasters import RasterSource, View, open_source
from csmoe_sampler.regions import tiles_of
from csmoe_sampler.spectral import open_spectral
from csmoe_sampler.stac import search
from csmoe_sampler.types import Descriptor


def open_descriptors(config: BuildConfig, progress: Progress, *, journal: Path) -> list[Descriptor]:
    """The descriptors of a configuration: land cover, climate, the user's, then the spectral one; no pixel is read.

    Args:
        config: The build.
        progress: Told of downloads and searches.
        journal: A folder that keeps what a search for scenes has found.

    Raises:
        SamplerError: A source cannot be found or opened, or a legend is malformed.
    """
    landcover = ClassShares(
        name="landcover", raster=_landcover_source(config.landcover), legend=load_legend(config.landcover.legend)
    )
    climate = climate_map(config.climate, cache_folder(), progress)
    raster = replace(open_source(climate.sources), origin=climate.provenance)
    koppen = ClassShares(name="climate", raster=raster, legend=load_legend("koppen"))
    spectral = [] if config.spectral is None else [_spectral(config, config.spectral, journal, progress)]
    return [landcover, koppen, *(_further(descriptor) for descriptor in config.descriptors), *spectral]


def journal_of(atlas: Path) -> Path:
    """The folder beside an atlas that keeps the scenes that its spectral descriptor was read from."""
    return atlas.with_name(f"{atlas.name.removesuffix('.parquet')}.scenes")


def legends_of(provenance: Mapping[str, Any]) -> dict[str, Legend]:
    """The legends of the descriptors with class shares, by name, as the provenance of an atlas holds them."""
    return {name: Legend.from_json(source["legend"]) for name, source in provenance.items() if source.get("legend")}


def _landcover_source(config: LandcoverConfig) -> RasterSource:
    view = View(reproject=config.reproject, overview=config.approximate)
    if config.source:
        return open_source(config.source, reproject=view.reproject, overview=view.overview)
    # All of the collection whatever the region, so that an atlas can grow to other regions.
    found = search(config.stac)
    return RasterSource.from_table(found.records, sign=found.sign, origin=found.provenance, view=view)


def _further(config: DescriptorConfig) -> Descriptor:
    if config.use is not None:
        return cast(Descriptor, load(config.use)(config.name, config.source))
    raster = open_source(config.source, reproject=config.reproject)
    if config.statistic == "moments":
        return Moments(name=config.name, raster=raster)
    assert config.legend is not None, "checked by the configuration"
    return ClassShares(name=config.name, raster=raster, legend=load_legend(config.legend))


def _spectral(config: BuildConfig, spectral: SpectralConfig, journal: Path, progress: Progress) -> Descriptor:
    """With the scenes of the whole region, so that all its tiles choose among the same."""
    grid = TileGrid(config.grid.spacing_km, config.grid.lat_max_deg)
    tiles = tiles_of(config.region, grid)
    return open_spectral(spectral, grid, tiles, journal, progress=progress)
