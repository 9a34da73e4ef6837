"""Where descriptors come from: the configuration's rasters, catalogues and legends, opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from csmoe_sampler.climate import cache_folder, climate_map
from csmoe_sampler.config import BuildConfig, DescriptorConfig, LandcoverConfig
from csmoe_sampler.descriptors import ClassShares, Moments
from csmoe_sampler.legend import Legend, load_legend
from csmoe_sampler.progress import Progress
from csmoe_sampler.rasters import RasterSource, View, open_source
from csmoe_sampler.stac import search
from csmoe_sampler.types import Descriptor


def open_descriptors(config: BuildConfig, progress: Progress) -> list[Descriptor]:
    """The descriptors of a configuration: land cover, climate, then the user's; headers are read, pixels are not.

    Raises:
        SamplerError: A source cannot be found or opened, or a legend is malformed.
    """
    landcover = ClassShares(
        name="landcover", raster=_landcover_source(config.landcover), legend=load_legend(config.landcover.legend)
    )
    climate = climate_map(config.climate, cache_folder(), progress)
    raster = replace(open_source(climate.sources), origin=climate.provenance)
    koppen = ClassShares(name="climate", raster=raster, legend=load_legend("koppen"))
    return [landcover, koppen, *(_further(descriptor) for descriptor in config.descriptors)]


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
    raster = open_source(config.source, reproject=config.reproject)
    if config.statistic == "moments":
        return Moments(name=config.name, raster=raster)
    assert config.legend is not None, "checked by the configuration"
    return ClassShares(name=config.name, raster=raster, legend=load_legend(config.legend))
